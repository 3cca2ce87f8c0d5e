"""Cutting and cleaning texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.notify.slack.render import escape
from service.notify.text import clean, fit, fit_lines, units


@given(st.text(max_size=300), st.integers(1, 100))
def test_a_fitted_text_never_exceeds_its_limit(text: str, limit: int) -> None:
    assert units(fit(text, limit)) <= limit
    assert units(fit(text, limit, escape)) <= limit


@given(st.text(st.sampled_from("&<>ab"), max_size=60), st.integers(1, 60))
def test_an_escape_is_never_cut_in_two(text: str, limit: int) -> None:
    cut = fit(text, limit, escape).removesuffix("…")
    plain = cut.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert not set(plain) & set("&<>;")


def test_a_text_that_fits_is_left_alone() -> None:
    assert fit("exactly", 7) == "exactly"
    assert fit("too long", 7) == "too lo…"


def test_astral_characters_count_twice() -> None:
    assert units("😀") == 2
    assert fit("😀😀😀", 5) == "😀😀…"


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("a\nb\t c", "a b c"),
        ("a\x00b", "a b"),
        ("pay\u202eevil", "pay evil"),
        ("\u2028", ""),
        ("plain – text", "plain – text"),
    ],
)
def test_what_does_not_print_becomes_a_space(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


def test_lines_that_do_not_fit_are_counted() -> None:
    assert fit_lines(["aaaa", "bbbb", "cccc"], 14) == "aaaa\nbbbb\ncccc"
    assert fit_lines(["a" * 10, "b" * 10, "c" * 10], 25) == "aaaaaaaaaa\n… and 2 more"
    assert fit_lines(["a" * 30, "b"], 10) == "a" * 9 + "…"


@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=50), min_size=1, max_size=10), st.integers(1, 80)
)
def test_fitted_lines_never_exceed_their_limit(lines: list[str], limit: int) -> None:
    assert units(fit_lines(lines, limit)) <= limit
