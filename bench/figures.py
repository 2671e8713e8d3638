"""Measure the figures that README states and write them to bench/results: python bench/figures.py digits|fashion|tables|budget|kill

fashion needs --data FOLDER with the four IDX files of Fashion-MNIST; tables needs pip install 'lamina[bench]'.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
LAMINA = [sys.executable, "-m", "lamina"]


def train(folder: Path, *words: str) -> tuple[float, dict]:
    """Seconds of the whole command, and its score.json."""
    start = time.monotonic()
    done = subprocess.run([*LAMINA, "train", *words, "--run", str(folder)], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode:
        raise SystemExit(f"lamina train {' '.join(words)} failed: {done.stderr}")
    return seconds, json.loads((folder / "score.json").read_text())


def spread(values: list[float]) -> str:
    """Mean and half-width of the 95 % interval of the mean (Student's t) over seeds; a single value has none."""
    digits = ",.0f" if abs(statistics.mean(values)) >= 500 else ".2f"
    if len(values) < 2:
        return f"{values[0]:{digits}} (n = 1)"
    t = {2: 12.7, 3: 4.30, 4: 3.18, 5: 2.78}.get(len(values), 2.0)
    half = t * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):{digits}} +- {half:{digits}} (n = {len(values)})"


def seeded(name: str, seeds: int, words: list[str]) -> list[str]:
    """One line of a table: score and seconds over seeds."""
    scores, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            seconds, made = train(Path(folder) / str(seed), *words, "--seed", str(seed))
            scores.append(made["value"])
            times.append(seconds)
            print(name, seed, made["name"], made["value"], f"{seconds:.1f} s", made["baselines"], flush=True)
    score = spread([100 * s for s in scores] if made["name"] != "rmse" else scores)
    unit = "" if made["name"] == "rmse" else " %"
    return [f"| {name} | {made['name']} | {score}{unit} | {statistics.median(times):.1f} | {max(times):.1f} |"]


def digits(options: argparse.Namespace) -> list[str]:
    return [HEAD, *seeded("digits, `lamina train`", options.seeds, ["digits"])]


def fashion(options: argparse.Namespace) -> list[str]:
    return [HEAD, *seeded("Fashion-MNIST, `--minutes 5`", options.seeds, [options.data, "--minutes", "5"])]


HEAD = "| data | number | on the test rows | median s | longest s |\n|---|---|---|---|---|"


def tables(options: argparse.Namespace) -> list[str]:
    """ames, Titanic, credit_data against scikit-learn on the same rows: its nets learn from train and validation rows."""
    from tables import compare  # beside this file

    return compare(options.seeds)


def budget(options: argparse.Namespace) -> list[str]:
    """Minutes asked for against seconds taken."""
    lines = ["| data | asked s | took s | over | number | score |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for data in ["digits", *([options.data] if options.data else []), *([options.table] if options.table else [])]:
            words = [data, "--target", options.target] if data == options.table and options.target else [data]
            for asked in options.seconds:
                run = Path(folder) / f"{Path(data).name}-{asked}"
                seconds, made = train(run, *words, "--minutes", str(asked / 60))
                over = max(0.0, seconds - asked)
                lines.append(
                    f"| {Path(data).name} | {asked} | {seconds:.1f} | {over:.1f} s | {made['name']} | {made['value']:.4g} |"
                )
                print(lines[-1], flush=True)
    return lines


def kill(options: argparse.Namespace) -> list[str]:
    """SIGKILL at random moments until the run is finished; best.safetensors and score.json must be those of a run never killed."""
    words = ["digits", "--epochs", "20", "--net", "lenet/1990", "--augment", "none"]
    chance, kills, ends, equal = random.Random(1), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        length, _ = train(whole, *words)
        wanted = [(whole / n).read_bytes() for n in ("best.safetensors", "score.json")]
        while kills < options.kills:
            run = Path(folder) / f"run{ends}"
            command = [*LAMINA, "train", *words, "--run", str(run)]
            while True:
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                try:
                    _, error = process.communicate(timeout=chance.uniform(0.3, 1.1) * length)
                except subprocess.TimeoutExpired:
                    os.kill(process.pid, signal.SIGKILL)
                    process.communicate()
                    kills += 1
                    if (run / "config.json").exists():
                        command = [*LAMINA, "train", "--resume", str(run)]
                    elif run.exists():  # killed before the plan was saved: nothing is lost, nothing can be resumed
                        run = run.with_name(run.name + "x")
                        command = [*LAMINA, "train", *words, "--run", str(run)]
                    continue
                if process.returncode and "is finished" not in error:
                    raise SystemExit(error)
                break
            ends += 1
            same = [(run / n).read_bytes() for n in ("best.safetensors", "score.json")] == wanted
            equal += same
            print(f"{kills} kills, {ends} ends, {equal} equal to the bit", flush=True)
    return [
        f"{kills} SIGKILLs at random moments of {ends} runs: {equal} of {ends} ends bit-identical to the run never killed."
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("digits", "fashion", "tables", "budget", "kill"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", help="folder of IDX files")
    parser.add_argument("--table", help="CSV file, for budget")
    parser.add_argument("--target")
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 30, 120, 600])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--name", help="of the file in bench/results; else the part's")
    options = parser.parse_args()
    lines = {"digits": digits, "fashion": fashion, "tables": tables, "budget": budget, "kill": kill}[options.part](
        options
    )
    from lamina.core.device import machine

    here = machine()
    about = f"{here['processor']}, {here['cores']} core{'s' if here['cores'] > 1 else ''}, torch {here['torch']}, lamina {here['lamina']}, {time.strftime('%Y-%m-%d')}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{options.name or options.part}.md").write_text(
        "\n".join([*lines, "", f"Measured by `python bench/figures.py {options.part}` on {about}.", ""])
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
