"""What runs this bundle's model, whatever goes in: `inference.py` derives its engine from here.

Needs numpy, and what the artifact's format needs. Serving over HTTP is `runtime.http`, which this
file leaves alone: `inference.py --verify` hashes it before anything executes it.
"""

from .caching import CachedSequence
from .engine import Accepted, InferenceEngine, InvalidInput, Item, relative_error
from .integrity import (
    METADATA,
    SIGNATURE,
    BundleError,
    digest_of,
    file_hash,
    proof,
    read_metadata,
    verify_code,
    verify_files,
)
from .predictions import (
    ClassPrediction,
    LabelsPrediction,
    NotFinite,
    Prediction,
    ValuesPrediction,
    comparable,
    likeliest,
    object_schema,
    softmax,
)
from .sessions import LOGITS, RUN_ERRORS, Array, Session, inputs_of, open_session

__all__ = [
    "LOGITS",
    "METADATA",
    "RUN_ERRORS",
    "SIGNATURE",
    "Accepted",
    "Array",
    "BundleError",
    "CachedSequence",
    "ClassPrediction",
    "InferenceEngine",
    "InvalidInput",
    "Item",
    "LabelsPrediction",
    "NotFinite",
    "Prediction",
    "Session",
    "ValuesPrediction",
    "comparable",
    "digest_of",
    "file_hash",
    "inputs_of",
    "likeliest",
    "object_schema",
    "open_session",
    "proof",
    "read_metadata",
    "relative_error",
    "softmax",
    "verify_code",
    "verify_files",
]
