"""The engines are as quick as they are promised to be."""

from tests.benchmarks.rates import edges_interpreted, states_generated, timed


def test_the_interpreted_search_takes_30_000_edges_a_second() -> None:
    found = timed("edges, interpreted", 30_000, edges_interpreted)
    print(f"\n{found.rate:,.0f} edges a second")  # noqa: T201
    assert found.rate >= found.promised


def test_the_generated_search_meets_200_000_states_a_second() -> None:
    found = states_generated()
    print(f"\n{found.rate:,.0f} states a second")  # noqa: T201
    assert found.rate >= found.promised
