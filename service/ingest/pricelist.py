"""Finding a model in the list of prices, by whatever name a gateway gives it and its provider.

The list is that of `genai-prices`, which comes with the package, offline, with its history.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, TypeVar

from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import ModelInfo, Provider

MAX_CACHED: Final = 20_000
"""Entries of each cache. A flood of invented model names must not fill the memory."""

PROVIDER_ALIASES: Final = {
    # gen_ai.provider.name and gen_ai.system (OpenTelemetry), custom_llm_provider (LiteLLM): those that the list
    # does not know, or takes for another: `azure.ai.openai` contains `openai`.
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure.openai": "azure",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "azure_text": "azure",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "codestral": "mistral",
    "fireworks_ai": "fireworks",
    "gcp.gen_ai": "google",
    "meta_llama": "meta",
    "text-completion-codestral": "mistral",
    "x_ai": "x-ai",
}
_HOSTS: Final = frozenset({"aws", "azure", "google"})
"""Providers that sell other vendors' models: there a vendor's name may stand in front of the model's."""
_PATHS: Final = frozenset(
    {"converse", "converse_like", "foundation-model", "inference-profile", "invoke", "models", "publishers"}
)
"""What stands between slashes in a resource name and is neither a provider nor a model."""
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d", re.ASCII)
_DATED: Final = re.compile(r"(?:[-@]20\d\d-?[01]\d-?[0-3]\d|@default|-00\d)$", re.ASCII)

_K = TypeVar("_K")
_V = TypeVar("_V")


class Listed(NamedTuple):
    """A model of the list.

    Attributes
    ----------
    provider : str
        Id of the provider that was asked for, as the list has it.
    vendor : str
        Id of the provider whose price it is. Another one where the first sells a vendor's model and the list has
        no price of its own for that: the vendor's price holds then, but not the vendor's classes of service.
    """

    provider: str
    vendor: str
    model: ModelInfo


class PriceList:
    """Looks models up. Not thread-safe. Answers are remembered, up to `MAX_CACHED` of them."""

    def __init__(self) -> None:
        self._snapshot = DataSnapshot(get_snapshot().providers, from_auto_update=False)
        self._found: dict[tuple[str, str], Listed | None] = {}

    def provider(self, name: str) -> str | None:
        """Id of a provider by any of its names."""
        found = self._provider(name)
        return None if found is None else found.id

    def find(self, provider: str, model: str) -> Listed | None:
        """A model by the names that a gateway uses, dated or not; None when the list does not have it."""
        key = (provider, model)
        if key in self._found:
            return self._found[key]
        if len(self._found) >= MAX_CACHED:
            # The snapshot remembers every name it was asked for, for ever: start another.
            self._snapshot = DataSnapshot(self._snapshot.providers, from_auto_update=False)
        return remember(self._found, key, self._find(provider.strip(), model.strip()))

    def _find(self, provider: str, model: str) -> Listed | None:
        if provider.lower() in ("litellm", "unknown"):
            provider, model = self._behind_litellm(provider, model)
        found = self._provider(provider)
        if found is None:
            return None
        for name in self._names(found, model):
            try:
                listed = self._snapshot.find_provider_model(name, found, None, None)[1]
            except LookupError:
                continue
            vendors = (found, *self._snapshot.providers)
            vendor = next(each for each in vendors if any(listed is model for model in each.models))
            return Listed(found.id, vendor.id, listed)
        return None

    def _behind_litellm(self, provider: str, model: str) -> tuple[str, str]:
        """LiteLLM puts the provider in front of the model, or leaves it to be guessed from the model."""
        prefix, slash, rest = model.partition("/")
        if slash and rest and self._provider(prefix) is not None:
            return prefix, rest
        try:
            return self._snapshot.find_provider(model.lower(), None, None).id, model
        except LookupError:
            return provider, model

    def _names(self, provider: Provider, model: str) -> list[str]:
        """The model's name as it is, without what a path puts in front of it, without its date."""
        names = [model]
        if model.startswith("arn:"):
            names.append(model.rpartition(":")[2] if "/" not in model else model.partition("/")[2])
        prefix, slash, rest = names[-1].partition("/")
        while slash and rest and self._is_path(prefix.lower(), provider):
            names.append(rest)
            prefix, slash, rest = rest.partition("/")
        undated = _DATED.sub("", names[-1])
        return names if undated == names[-1] else [*names, undated]

    def _is_path(self, prefix: str, provider: Provider) -> bool:
        if prefix in _PATHS or _REGION.fullmatch(prefix):
            return True
        named = self._provider(prefix)
        return named is not None and (named is provider or provider.id in _HOSTS)

    def _provider(self, name: str) -> Provider | None:
        name = name.strip().lower()
        try:
            return self._snapshot.find_provider(None, PROVIDER_ALIASES.get(name, name), None)
        except LookupError:
            return None


def remember(cache: dict[_K, _V], key: _K, value: _V) -> _V:
    """Keep an answer; a full cache is emptied before another one is added."""
    if len(cache) >= MAX_CACHED and key not in cache:
        cache.clear()
    cache[key] = value
    return value
