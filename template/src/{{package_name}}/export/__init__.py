"""Export: one exporter per format, the parity check, the bundle."""

from .bundle import create_export_bundle, refresh_bundle

__all__ = ["create_export_bundle", "refresh_bundle"]
