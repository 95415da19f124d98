"""`python -m ingestion.files`: load the new files of a drop folder or bucket into bronze."""

import argparse
import sys

from ingestion.settings import IngestionError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, also where files were rejected, or 1 after one sentence on stderr."""
    from ingestion.files import settings

    parser = argparse.ArgumentParser(
        prog="python -m ingestion.files",
        description=__doc__.partition(": ")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=settings.__doc__.partition("\n\n")[2],
    )
    parser.add_argument("--again", metavar="GLOB", help="also read files that were loaded or rejected before, by path or name")
    parser.add_argument("--no-register", action="store_true", help="leave the local endpoint's catalog alone")
    options = parser.parse_args(arguments)
    from ingestion.files.load import load_files  # takes seconds to import dlt

    try:
        result = load_files(again=options.again, register=not options.no_register, report=_say)
    except IngestionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; the next load goes on", file=sys.stderr)
        return 130
    for table, rows in result.rows.items():
        _say(f"{table}: {rows:,} rows landed, {result.misfits[table]:,} with values that do not fit")
    if result.unmatched:
        _say(f"no pattern names {len(result.unmatched):,} files, such as {result.unmatched[0]}")
    _say(
        f"{len(result.loaded):,} files loaded, {result.known:,} known, {len(result.repeated):,} repeated, "
        f"{len(result.rejected):,} rejected, {len(result.waiting):,} left for the next run, {result.seconds:.1f} s, "
        f"loads {', '.join(result.load_ids) or 'none'}"
    )
    return 0


def _say(line: str) -> None:
    print(f"files: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
