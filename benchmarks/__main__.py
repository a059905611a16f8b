"""Runs the benchmarks of docs/performance.md, each in a process of its own, and writes the page.

    make performance                        # about ten minutes on two cores that have nothing else to do
    python -m benchmarks --quick            # seconds each, to build/quick
    python -m benchmarks --device cuda      # what has a GPU path; skipped without a GPU

Exit status 1 when one of them failed or found a limit exceeded.
"""

import argparse
import subprocess
import sys

import torch

CPU = ["extraction", "step_overhead", "losses", "scoring_at_scale", "search", "shipping", "browser"]
GPU = ["extraction", "step_overhead", "scoring_at_scale"]


def main() -> None:
    """Runs them all, also behind one that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("skipped: there is no GPU that PyTorch can use")
        return
    quick = ["--quick"] if args.quick else []
    device = [] if args.device == "cpu" else ["--device", args.device]
    failed = []
    for name in GPU if device else CPU:
        compiles = ["--compile"] if name == "step_overhead" and not quick else []
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *quick, *device, *compiles]).returncode:
            failed.append(name)
    subprocess.run([sys.executable, "-m", "benchmarks.page", *quick], check=True)
    if failed:
        print(f"failed, or beyond a limit: {', '.join(failed)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
