"""One request as arguments of `generate_async`, made anew each time: the engine changes what it is given."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from podium.engine.job import JobSpec
from podium.engine.tensorrt_llm.module import TensorRtModule
from podium.engine.tensorrt_llm.options import LoraAdapter
from podium.errors import FailedPrecondition
from podium.inference.engine import Guide, GuideKind

__all__ = ["RequestBuilder"]

_GUIDE_FIELDS = {
    GuideKind.JSON_SCHEMA: "json",
    GuideKind.REGEX: "regex",
    GuideKind.EBNF: "grammar",
    GuideKind.STRUCTURAL_TAG: "structural_tag",
}
_DECODE_PRIORITY = 35
# Prefixes are shared only between requests with the same salt; one without any shares with its like.
_SALT = "podium:{}"


class RequestBuilder:
    """Builds the arguments of one model's requests.

    Args:
        eos_token_id: ends an output and stays its last id.
        stop_token_ids: further ids with which the model itself ends an output.
    """

    def __init__(
        self,
        module: TensorRtModule,
        *,
        eos_token_id: int,
        stop_token_ids: frozenset[int] = frozenset(),
        adapters: tuple[LoraAdapter, ...] = (),
    ) -> None:
        self._module = module
        self._eos = eos_token_id
        self._stops = stop_token_ids
        self._adapters = {adapter.number: adapter for adapter in adapters}

    def arguments(self, spec: JobSpec) -> dict[str, Any]:
        """Return keyword arguments for `generate_async`.

        Raises:
            FailedPrecondition: this version lacks what the request asks for.
            ValueError, TypeError: the engine refuses the settings.
        """
        arguments: dict[str, Any] = {
            "inputs": [int(token) for token in spec.prompt],
            "sampling_params": self._sampling(spec),
            "streaming": True,
            "cache_salt": _SALT.format(spec.cache_salt or "-"),
        }
        if spec.lora_id is not None:
            adapter = self._adapters[spec.lora_id]
            arguments["lora_request"] = self._module.find("LoRARequest")(adapter.name, adapter.number, adapter.path)
        if spec.retention:
            arguments["kv_cache_retention_config"] = self._retention(spec)
        for name in arguments:
            if not self._module.takes(name):
                raise FailedPrecondition(f"tensorrt_llm {self._module.version_text} takes no {name}; leave it unset.")
        return arguments

    def _sampling(self, spec: JobSpec) -> Any:
        asked = spec.sampling
        values: dict[str, Any] = {
            # With the end id given, the engine leaves stop *strings* untokenised; we never send any.
            "end_id": self._eos,
            "pad_id": self._eos,
            "max_tokens": spec.max_tokens,
            "min_tokens": spec.min_tokens or None,
            # The engine drops these under `ignore_eos`; the cursor looks for them in any case.
            "stop_token_ids": sorted(spec.stop_token_ids | self._stops) or None,
            "bad_token_ids": list(spec.bad_token_ids) or None,
            "include_stop_str_in_output": spec.include_stop,
            "ignore_eos": spec.ignore_eos,
            "n": spec.sequences,
            "best_of": spec.sequences,
            "use_beam_search": False,
            "detokenize": False,
            "add_special_tokens": False,
            "skip_special_tokens": False,
            "exclude_input_from_output": True,
            "logprobs": spec.logprobs,
            "guided_decoding": None if spec.guide is None else self._guide(spec.guide),
        }
        if asked.greedy:
            values |= {"temperature": 0.0, "top_k": 1, "top_p": None}
        else:
            values |= {"temperature": asked.temperature, "top_k": asked.top_k, "top_p": asked.top_p}
            if asked.min_p:
                values["min_p"] = asked.min_p
        # Neutral values are left out: what they are is the engine's to know.
        if asked.seed is not None:
            values["seed"] = asked.seed
        if asked.repetition_penalty != 1.0:
            values["repetition_penalty"] = asked.repetition_penalty
        if asked.presence_penalty:
            values["presence_penalty"] = asked.presence_penalty
        if asked.frequency_penalty:
            values["frequency_penalty"] = asked.frequency_penalty
        return self._module.sampling_params(**values)

    def _guide(self, guide: Guide) -> Any:
        return self._module.find("GuidedDecodingParams")(**{_GUIDE_FIELDS[guide.kind]: guide.text})

    def _retention(self, spec: JobSpec) -> Any:
        config = self._module.find("KvCacheRetentionConfig")
        ranges = [
            config.TokenRangeRetentionConfig(
                part.start, part.end, part.priority, None if part.seconds is None else timedelta(seconds=part.seconds)
            )
            for part in spec.retention
        ]
        return config(ranges, _DECODE_PRIORITY, None)
