"""Writes into seed_tts_eval_golden.jsonl what the published script of seed-tts-eval says of its pairs.

    python tests/parity/make_seed_tts_eval_golden.py run_wer.py

With jiwer 3.1.0, zhon 2.1.1. run_wer.py is that of github.com/BytedanceSpeech/seed-tts-eval (95003fe); only its
function `process_one` is run, as it stands, on every line of the file, and its `wer` kept (null where it raises).
`worked`, errors / tokens, was worked out by hand from the texts and the rules of protocol.py alone.
"""

import ast
import json
import string
import sys
from pathlib import Path

from jiwer import compute_measures
from zhon.hanzi import punctuation

GOLDEN = Path(__file__).with_name("seed_tts_eval_golden.jsonl")


def main() -> None:
    tree = ast.parse(Path(sys.argv[1]).read_text())
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "process_one")
    code = compile(ast.Module([function], []), sys.argv[1], "exec")
    lines = []
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        pair = json.loads(line)
        space = {"lang": pair["language"], "compute_measures": compute_measures}
        space["punctuation_all"] = punctuation + string.punctuation
        exec(code, space)
        try:
            pair["wer"] = space["process_one"](pair["hypothesis"], pair["reference"])[2]
        except ValueError:
            pair["wer"] = None
        lines.append(json.dumps(pair, ensure_ascii=False))
    GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
