"""What is read of a request and of a stream's chunks, to count the tokens of one that was left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.litellm_left import asked, payload, said


@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        (SimpleNamespace(type="response.output_text.delta", delta="word "), "word "),
        (SimpleNamespace(type="response.completed"), ""),
        ({"type": "response.output_text.delta", "delta": "word "}, "word "),
        (
            b'event: content_block_delta\ndata: {"delta": {"type": "text_delta", "text": "word "}}\n\n',
            "word ",
        ),
        (b'data: {"delta": {"partial_json": "{"}}\n\ndata: {"delta": {"thinking": "so "}}\n\n', "{so "),
        ('data: {"delta": {"text": "word"}}\n\n', "word"),
        (b'data: {"delta": {"text": "cut in tw', ""),
        (b"data: [DONE]\n\n", ""),
        (None, ""),
    ],
)
def test_a_chunk_adds_its_text(chunk: object, text: str) -> None:
    assert said(chunk) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"input": "a b"}, "a b"),
        (
            {
                "instructions": "i",
                "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}],
            },
            "i\na",
        ),
        (
            {"system": [{"text": "s"}], "messages": [{"role": "user", "content": "a"}, {"content": "b"}]},
            "s\na\nb",
        ),
        ({"input": [{"type": "function_call_output", "output": "42"}]}, "42"),
        ({"messages": [{"content": [{"type": "image", "source": {"data": "AAAA"}}]}]}, ""),
        ({}, ""),
    ],
)
def test_a_request_says_its_texts(data: dict[str, Any], text: str) -> None:
    assert asked(data) == text


@given(
    st.recursive(st.none() | st.text() | st.integers(), lambda s: st.lists(s) | st.dictionaries(st.text(), s))
)
def test_whatever_is_asked_or_said_breaks_nothing(value: Any) -> None:
    asked({"input": value, "messages": value})
    said(value)
    payload({"metadata": value}, {}, began=0.0, ended=1.0, input_tokens=1, output_tokens=1)
