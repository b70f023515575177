"""How the model behind an engine is best used: by its own dialect, the one it was taught, or planned for."""

from __future__ import annotations

import logging
from typing import Final

from podium.inference.dialects import DIALECTS, detect, dialect_named
from podium.inference.engine import Engine, EngineInfo
from podium.inference.engine_chat import EngineChatModel
from podium.inference.guided import GuidedChatModel
from podium.inference.guided.toolset import ToolMatcher
from podium.inference.guided.vectors import WordVectors
from podium.inference.planner.model import PLANNER_DIALECT, TrainedChatModel
from podium.inference.tokenizer import Tokenizer

__all__ = ["AUTO", "GUIDED", "chat_model"]

_log = logging.getLogger(__name__)

AUTO: Final = "auto"
GUIDED: Final = "guided"


def chat_model(
    engine: Engine,
    tokenizer: Tokenizer,
    info: EngineInfo,
    *,
    name: str,
    kind: str,
    dialect: str = AUTO,
    taught: str = "",
    context_length: int = 0,
    vectors: WordVectors | None = None,
    matcher: ToolMatcher | None = None,
    guide_plain: bool = False,
    remote: bool = False,
) -> GuidedChatModel | EngineChatModel:
    """Return the chat model for an engine.

    Args:
        engine: writes tokens.
        tokenizer: of the engine's model.
        info: what the engine says of itself.
        name, kind: of the model, as callers see them.
        dialect: `auto`, `guided`, `planner` (for a model trained in it), or the name of a dialect.
        taught: the dialect that a trained adapter taught the model, which `auto` then takes; empty for none.
        context_length: in tokens; 0 for what engine and tokenizer say.
        vectors: word vectors of the model, for planning.
        matcher: of requests and tools, trained with these vectors, for planning.
        guide_plain: whether `auto` plans for a model that was not taught tools.
        remote: whether requests leave this machine.

    Raises:
        InvalidRequest: there is no such dialect.
    """
    if dialect == AUTO and taught:
        dialect = _known(taught, name)
    if dialect == PLANNER_DIALECT:
        return TrainedChatModel(engine, tokenizer, name=name, vectors=vectors, matcher=matcher)
    template = tokenizer.chat_template.source if tokenizer.chat_template is not None else ""
    found = (
        detect(template, info.model_id, tokenizer.special_ids) if dialect in (AUTO, GUIDED) else dialect_named(dialect)
    )
    if dialect == GUIDED or (dialect == AUTO and not found.tools and guide_plain):
        return GuidedChatModel(engine, tokenizer, name=name, vectors=vectors, matcher=matcher)
    return EngineChatModel(
        engine,
        tokenizer,
        found,
        name=name,
        kind=kind,
        context_length=context_length or info.max_seq_len,
        remote=remote,
    )


def _known(taught: str, name: str) -> str:
    """Return what `auto` means for a model that was taught a dialect: it may be one of a later release."""
    if taught in DIALECTS or taught == PLANNER_DIALECT:
        return taught
    _log.warning("this release does not know the dialect that the model was taught", extra={"model": name})
    return AUTO
