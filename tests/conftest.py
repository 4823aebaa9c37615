"""No network in tests; warnings of third parties that are not ours to mend."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
