"""Records what EvalScope does with all cases: `python tests/contract/record.py PYTHON_WITH_EVALSCOPE`."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.contract.cases import CASES
from tests.contract.compare import digest
from tests.contract.conftest import HERE, driven

if __name__ == "__main__":
    python = sys.argv[1]
    asked = [python, "-c", "from importlib.metadata import version; print(version('evalscope'))"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    with TemporaryDirectory() as folder:
        found = driven(python, Path(folder))
    recorded = {name: digest(found[name], case) for name, case in CASES.items()}
    file = HERE / "recorded" / f"evalscope-{version}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")
    print(f"{file}: {len(recorded)} cases, {sum('error' in one for one in recorded.values())} errors")
