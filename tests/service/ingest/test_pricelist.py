"""By which names a provider's model is found in the list of prices."""

from __future__ import annotations

import pytest

from service.ingest.pricelist import PriceList
from service.ingest.service_class import service_class

LIST = PriceList()

PROVIDERS = {
    # OpenTelemetry, gen_ai.provider.name and its older gen_ai.system
    "anthropic": "anthropic",
    "aws.bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "groq": "groq",
    "mistral_ai": "mistral",
    "openai": "openai",
    "perplexity": "perplexity",
    "vertex_ai": "google",
    "x_ai": "x-ai",
    "xai": "x-ai",
    # LiteLLM, custom_llm_provider
    "azure": "azure",
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "cerebras": "cerebras",
    "codestral": "mistral",
    "cohere_chat": "cohere",
    "databricks": "databricks",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "github_copilot": "github-copilot",
    "meta_llama": "meta",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "novita": "novita",
    "openrouter": "openrouter",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai_beta": "google",
    "voyage": "voyageai",
    "zai": "zai",
    # however it is written
    " OpenAI ": "openai",
    "AWS.Bedrock": "aws",
    # not sold by the token
    "ollama": None,
    "hosted_vllm": None,
    "": None,
}

MODELS = [
    # provider, name, the list's own name
    ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
    ("openai", "GPT-4o", "gpt-4o"),
    ("openai", "gpt-4o-20240806", "gpt-4o"),
    ("openai", "openai/gpt-4o", "gpt-4o"),
    ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
    ("openai", "gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
    ("openai", "gpt-5.1-2025-11-13", "gpt-5.1"),
    ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", "ft:gpt-4o-mini"),
    ("openai", "gpt-6-sol-2026-09-01", "gpt-6-sol"),
    ("litellm", "openai/gpt-4o", "gpt-4o"),
    ("litellm", "gpt-4o", "gpt-4o"),
    ("litellm", "bedrock/us.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
    ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
    ("anthropic", "anthropic/claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
    ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4-0"),
    ("anthropic", "claude-3-5-haiku-latest", "claude-3-5-haiku-latest"),
    ("anthropic", "claude-opus-5-20260601", "claude-opus-5"),
    ("gcp.vertex_ai", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
    ("vertex_ai", "vertex_ai/claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
    ("vertex_ai", "publishers/anthropic/models/claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
    ("gcp.vertex_ai", "claude-sonnet-4-6@default", "claude-sonnet-4-6"),
    ("gcp.vertex_ai", "claude-3-5-sonnet-v2@20241022", "claude-3-5-sonnet"),
    (
        "aws.bedrock",
        "anthropic.claude-3-5-sonnet-20240620-v1:0",
        "regional.anthropic.claude-3-5-sonnet-20240620-v1:0",
    ),
    (
        "aws.bedrock",
        "us.anthropic.claude-sonnet-4-20250514-v1:0",
        "regional.anthropic.claude-sonnet-4-20250514-v1:0",
    ),
    (
        "aws.bedrock",
        "global.anthropic.claude-opus-4-5-20251101-v1:0",
        "global.anthropic.claude-opus-4-5-v1:0",
    ),
    ("bedrock", "bedrock/converse/us.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
    (
        "bedrock",
        "bedrock/us-east-1/anthropic.claude-3-haiku-20240307-v1:0",
        "regional.anthropic.claude-3-haiku-20240307-v1:0",
    ),
    (
        "bedrock",
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-20250514-v1:0",
        "regional.anthropic.claude-sonnet-4-20250514-v1:0",
    ),
    ("bedrock", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
    ("azure", "azure/gpt-4o", "gpt-4o"),
    ("azure.ai.openai", "gpt-4o-2024-08-06", "gpt-4o"),
    ("azure_ai", "azure_ai/claude-sonnet-4-5", "claude-sonnet-4-5"),
    ("gcp.gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
    ("gemini", "gemini/gemini-2.5-flash", "gemini-2.5-flash"),
    ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-flash-lite", "gemini-2.5-flash-lite"),
    ("google", "gemini-2.5-flash-001", "gemini-2.5-flash"),
    ("google", "gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
    ("openrouter", "openrouter/openai/gpt-4o", "openai/gpt-4o"),
    ("openrouter", "openai/gpt-4o-2024-08-06", "openai/gpt-4o"),
    ("openrouter", "anthropic/claude-4.5-sonnet-20250929", "anthropic/claude-sonnet-4.5"),
    ("openrouter", "openai/gpt-4o:batch", "openai/gpt-4o:batch"),
    ("groq", "groq/llama-3.3-70b-versatile", "llama-3.3-70b-versatile"),
    ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
    ("x_ai", "grok-4", "grok-4-0709"),
    ("mistral_ai", "mistral-large-2411", "mistral-large"),
    (
        "together_ai",
        "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    ),
    ("fireworks_ai", "fireworks_ai/accounts/fireworks/models/gpt-oss-120b", "gpt-oss-120b"),
    ("cohere_chat", "command-r-plus-08-2024", "command-r-plus"),
    # not found: another vendor's name in front, a model that does not exist, no names at all
    ("openai", "anthropic/claude-sonnet-4-5", None),
    ("openrouter", "openai/gpt-4o:nitro", None),
    ("openai", "gpt-77-2026-01-01", None),
    ("openai", "", None),
    ("", "gpt-4o", None),
    ("/", "/", None),
    ("litellm", "/", None),
    ("bedrock", "arn:aws:bedrock", None),
]


@pytest.mark.parametrize(("name", "provider"), PROVIDERS.items())
def test_a_provider_has_many_names(name: str, provider: str | None) -> None:
    assert LIST.provider(name) == provider


@pytest.mark.parametrize(("provider", "name", "model"), MODELS)
def test_a_model_has_many_names(provider: str, name: str, model: str | None) -> None:
    for _ in range(2):  # the second answer comes from the cache
        found = LIST.find(provider, name)
        assert (None if found is None else found.model.id) == model


def test_whose_price_it_is_when_a_provider_sells_anothers_model() -> None:
    vendors = {}
    for provider, model in [("openai", "gpt-4o"), ("azure", "gpt-4o"), ("azure", "o3")]:
        found = LIST.find(provider, model)
        assert found is not None
        vendors[provider, model] = found.vendor
    assert vendors == {
        ("openai", "gpt-4o"): "openai",
        ("azure", "gpt-4o"): "openai",
        ("azure", "o3"): "azure",
    }


@pytest.mark.parametrize(
    ("tier", "meaning"),
    [
        (None, None),
        ("", None),
        ("default", None),
        ("Standard", None),
        ("standard_only", None),
        ("auto", None),
        ("ON_DEMAND", None),
        ("on_demand_priority", "priority"),
        ("ON_DEMAND_FLEX", "flex"),
        (" Batch ", "batch"),
        ("flex", "flex"),
        ("priority", "priority"),
        ("scale", "scale"),
        ("reserved", "reserved"),
        ("provisioned_throughput", "provisioned_throughput"),
    ],
)
def test_a_class_of_service_has_many_names(tier: str | None, meaning: str | None) -> None:
    assert service_class(tier) == meaning
