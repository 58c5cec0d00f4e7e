"""What makes two bodies the same: their meaning, not their spelling."""

import hashlib
import json

from pydantic import BaseModel


def sha256(body: BaseModel) -> bytes:
    """Equal for equal values, whatever the order of the fields and the form of the numbers."""
    canonical = json.dumps(body.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).digest()
