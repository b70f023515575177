"""`search_documents`: full-text search in the allowed folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core._index import DocumentIndex, IndexedMatch
from podium.packs.core.text import unquoted
from podium.tools import Tool, tool, tool_of

__all__ = ["DocumentMatches", "document_tools"]

_STOP_WORDS = """
a an the and or of in on at to for from with by is are was were be do does did it its this that about what which who how
when where why i me my we our you your he she they their there any all
"""
_MOST_WORDS = 20


@dataclass(frozen=True, slots=True)
class DocumentMatches:
    """The documents that match best, best first, and how many were searched."""

    query: str
    matches: list[IndexedMatch]
    searched: int


def document_tools(index: DocumentIndex, *, most_query_chars: int = 1000) -> list[Tool]:
    """Return the tools of this module."""
    query_type = Annotated[
        str,
        Field(min_length=1, max_length=most_query_chars, json_schema_extra={"x-podium-kind": "query"}),
        AfterValidator(unquoted),
    ]

    @tool(
        side_effects="none",
        type="files",
        timeout=15,
        examples=[
            ("search the documents for refund policy", {"query": "refund policy"}),
            ("Which documents mention the Berlin office?", {"query": "Berlin office"}),
            ("find anything about vacation days, top 3", {"query": "vacation days", "limit": 3}),
            ("what do our notes say about the release date", {"query": "release date"}),
            ("look up 'quarterly revenue' in the files", {"query": "quarterly revenue"}),
            ("is there something written about parking", {"query": "parking"}),
            ("search for onboarding checklist and give me 2 results", {"query": "onboarding checklist", "limit": 2}),
            ("where is the supplier contract discussed?", {"query": "supplier contract"}),
            ("find documents on password rules", {"query": "password rules"}),
        ],
    )
    def search_documents(query: query_type, limit: Annotated[int, Field(ge=1, le=20)] = 5) -> DocumentMatches:
        """Search inside documents for words and return the best passages.

        Args:
            query: The words to look for.
            limit: How many documents to return at most.
        """
        expression = _expression(query)
        if not expression:
            message = "search_documents: query holds no word to look for; name what the documents should mention"
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, message)
        matches, searched = index.search(expression, limit)
        return DocumentMatches(query, matches, searched)

    return [made for made in (tool_of(search_documents),) if made is not None]


def _expression(query: str) -> str:
    """Any of the words may match; FTS5 ranks those files first that hold more, and rarer, ones."""
    words = re.findall(r"\w+", query.casefold())[:_MOST_WORDS]
    telling = [word for word in words if word not in _STOP_WORDS.split()] or words
    return " OR ".join(f'"{word}"' for word in dict.fromkeys(telling))
