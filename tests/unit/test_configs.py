"""Every file under configs/ is what it says: validated by the real config classes."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONNECTORS = sorted(ROOT.glob("configs/**/*.json"))
