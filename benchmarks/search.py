"""What exact search() costs beside plain FAISS on the same descriptors.

    python -m benchmarks.search
    python -m benchmarks.search --quick    # to try it

Both find the 10 nearest of 10^4 and 10^5 descriptors of 512 dimensions for 70 queries. search() checks and multiplies the array
that it is given; FAISS copies it into a flat index first, so its time is shown with that and without. The last way is search()
through the same index. The best round of each counts. Exit status 1 when the two find different neighbours.
"""

import sys
from functools import partial

import faiss
import torch
import torch.nn.functional as F

from benchmarks.record import options, parsed, save
from benchmarks.rounds import alternate, ratios, show
from rdistill_helpers import search

K = 10


def measure(count: int, dim: int, rounds: int) -> dict[str, object]:
    """Prints and gives the ratios to FAISS for so many descriptors."""
    generator = torch.Generator().manual_seed(0)
    database, queries = (F.normalize(torch.randn(n, dim, generator=generator), dim=1) for n in (count, 70))

    def with_building() -> None:
        new = faiss.IndexFlatIP(dim)
        new.add(database.numpy())
        new.search(queries.numpy(), K)

    index = faiss.IndexFlatIP(dim)
    index.add(database.numpy())
    ways = {
        "FAISS, index ready": partial(index.search, queries.numpy(), K),
        "FAISS, index built": with_building,
        "search": partial(search, queries, database, K),
        "search in the index": partial(search, queries, None, K, index),
    }
    table = ratios(alternate(ways, rounds).min(), ["FAISS, index ready"])
    show(f"{count:,} descriptors of {dim} dimensions, best of {rounds} rounds", table)
    equal = search(queries, database, K)[1].tolist() == index.search(queries.numpy(), K)[1].tolist()
    return {"descriptors": count, "equal": equal, "to FAISS": table["to FAISS, index ready"].to_dict()}


def main(arguments: list[str] | None = None) -> None:
    """Prints and keeps the ratios for each size; fails where neighbours differ."""
    parser = options(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=10)
    args = parsed(parser, arguments, sizes=[2_000], dim=64, rounds=1)
    faiss.omp_set_num_threads(args.threads)
    figures = [measure(size, args.dim, args.rounds) for size in args.sizes]
    save(args, "search", {"dimensions": args.dim, "sizes": figures})
    sys.exit(not all(line["equal"] for line in figures))


if __name__ == "__main__":
    main()
