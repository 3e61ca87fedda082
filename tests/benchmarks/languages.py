"""What Whisper base mishears in recordings of other languages: the floor of `evaluate --language`.

    apt-get install --no-install-recommends asterisk-core-sounds-{es,fr,it,ru} asterisk-core-sounds-{es,fr,it,ru}-wav
    python tests/benchmarks/languages.py --out=FOLDER [--num=30]

Telephone prompts of 8 kHz, one professional voice a language, with the texts of their packages (not always word by word
what is said); of those with five words and more, `num` drawn with seed 0.
"""

import argparse
import gzip
import json
import random
from pathlib import Path

import beside

from e2etts_jax.evaluate import judging
from e2etts_jax.evaluate.judges import Names

SOUNDS = Path("/usr/share/asterisk/sounds")


def prompts(language: str) -> list[tuple[str, str]]:
    """Names and texts, as the package lists them; texts in brackets describe sounds."""
    file = Path(f"/usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz")
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith(";"))
    said = [(key.strip(), words.strip()) for key, words in pairs]
    return [(k, w) for k, w in said if len(w.split()) >= 5 and w[0] not in "[(<" and _sound(language, k).is_file()]


def _sound(language: str, key: str) -> Path:
    return SOUNDS / language / f"{key}.wav"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--num", type=int, default=30)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = []
    for language in ("es", "fr", "it", "ru"):
        rows = prompts(language)
        random.Random(0).shuffle(rows)
        listed = options.out / f"{language}.lst"
        listed.write_text("\n".join(f"{key}|{text}" for key, text in rows[: options.num]) + "\n", encoding="utf-8")
        page = judging.run(
            str(listed),
            [f"recorded={SOUNDS / language}"],
            out=str(options.out / language),
            language=language,
            names=Names(speakers=[], listeners=[]),
        )
        made = json.loads(page.with_name("report.json").read_text())
        (system,) = made["systems"]
        row = {"language": language, "protocol": made["protocol"], "entries": made["entries"], **made["recognizers"]}
        errors = system["errors"]["whisper-base"]
        row |= {key: round(errors[key], 4) for key in ("mean", "low", "high", "corpus")}
        table.append(row | {"seconds": system["seconds"]})
        print(json.dumps(row), flush=True)
    beside.keep(options.out / "languages.json", table)


if __name__ == "__main__":
    main()
