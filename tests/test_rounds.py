"""The helper of the timing benchmarks: functions take turns, and ratios are to a named one."""

import pandas

from benchmarks.rounds import alternate, ratios


def test_functions_take_turns_and_the_warm_up_does_not_count():
    calls = []
    times = alternate({name: lambda name=name: calls.append(name) for name in ("a", "b")}, rounds=3, warm_up=1)
    assert calls == ["a", "b"] * 4
    assert times.shape == (3, 2) and list(times) == ["a", "b"] and bool((times > 0).all(axis=None))


def test_ratios_are_to_the_named_functions():
    table = ratios(pandas.Series({"bare": 2.0, "all": 5.0}), ["bare", "all"])
    assert table["to bare"].to_dict() == {"bare": 1.0, "all": 2.5}
    assert table["to all"].to_dict() == {"bare": 0.4, "all": 1.0}
