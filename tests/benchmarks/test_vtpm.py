"""The implementation is measured against its peers, and both do the same."""

from tests.benchmarks.vtpm import measured


def test_every_figure_can_be_had() -> None:
    for one in measured(quick=True):
        print(f"\n{one}")  # noqa: T201
        assert one.ours > 0
        assert one.theirs > 0
