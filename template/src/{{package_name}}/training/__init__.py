"""Training: the LightningModule, exact accumulation, compilation, metrics, the loop."""
