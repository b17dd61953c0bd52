"""Type errors of each package against what is recorded: more than recorded fails, fewer can be recorded.

python .ci/check_types.py             # compare with .ci/type_errors.json
python .ci/check_types.py --record    # after mending some: write the new, lower numbers
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

RECORD = Path(__file__).with_name("type_errors.json")
#: Errors that another version of a dependency's stubs may add to a package.
SLACK = 3


def count() -> Counter[str]:
    """Errors by package, as mypy finds them."""
    command = [sys.executable, "-m", "mypy", "equipot", "--ignore-missing-imports"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode not in (0, 1):
        sys.exit(f"mypy did not run:\n{result.stdout}{result.stderr}")
    found = re.findall(r"^equipot[/\\](\w+)[^\n]*: error:", result.stdout, flags=re.MULTILINE)
    return Counter(found)


def main() -> int:
    found = count()
    if "--record" in sys.argv[1:]:
        RECORD.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
        return 0
    recorded = json.loads(RECORD.read_text())
    worse = {name: (recorded.get(name, 0), n) for name, n in found.items() if n > recorded.get(name, 0) + SLACK}
    print(f"Type errors: {sum(found.values())}, recorded {sum(recorded.values())}.")
    for name, (before, now) in sorted(worse.items()):
        print(f"equipot/{name}: {now} type errors, {before} are recorded; see `python -m mypy equipot/{name}`.")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
