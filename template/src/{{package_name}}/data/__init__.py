"""From files on disk to batches: one module per modality, and the module that drives it."""
