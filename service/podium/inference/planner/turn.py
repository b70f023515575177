"""What becomes of the lines of one turn: calls, questions, or nothing.

A call that lacks a required value waits for the end of the turn. Where the run lets the model ask,
it becomes questions, one a value, and is made in the next turn with their answers. Elsewhere it
becomes the answer ("please tell me the day") when it stands alone, and beside other calls it is
made as it is, so that its tool's complaint is told with their results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from podium.inference.guided.filling import accepted_arguments
from podium.inference.guided.slots import SlotKind, name_words
from podium.inference.guided.toolset import PreparedTool
from podium.inference.guided.utterance import Utterance, analyse
from podium.inference.planner.call_lines import parse_call
from podium.inference.planner.competing import Candidate, Proposal, chosen
from podium.inference.planner.completing import completed
from podium.inference.planner.inheriting import Donor, inherited
from podium.inference.planner.parameters import Parameter
from podium.inference.planner.settling import Place, Settled, borne_out, moved, settled
from podium.inference.planner.shown import ShownTool
from podium.inference.planner.uniting import united
from podium.inference.planner.values import ReadCall, Unreadable, put, read_call, read_value
from podium.inference.planner.weighing import weighed
from podium.orchestration.chat import AssistantMessage, ChatRequest, ToolCallSealed, ToolMessage, UserMessage
from podium.orchestration.references import join_pointer

__all__ = ["ASK_USER_NAME", "PlannedTurn", "answers_of"]

ASK_USER_NAME: Final = "ask_user"
_MOST_CALLS = 16
_MOST_QUESTIONS = 4
_MOST_CHOICES = 50
_LONGEST_DOING = 200


def answers_of(request: ChatRequest) -> list[Any] | None:
    """Return the answers to the questions of the turn before, in their order; None when it asked nothing.

    An answer is None where nobody gave one.
    """
    asked: list[str] = []
    for message in reversed(request.messages):
        if isinstance(message, UserMessage):
            return None
        if isinstance(message, AssistantMessage):
            asked = [call.call_id for call in message.calls if call.tool == ASK_USER_NAME]
            break
    if not asked:
        return None
    told = {m.call_id: m for m in request.messages if isinstance(m, ToolMessage) and m.call_id in asked}
    return [_answer(told.get(call_id)) for call_id in asked]


def _answer(message: ToolMessage | None) -> Any:
    if message is None or not message.ok:
        return None
    try:
        return json.loads(message.content)
    except ValueError:
        return message.content


@dataclass(frozen=True, slots=True)
class _Made:
    """A call that the model proposed, numbered in the order of the proposals."""

    number: int
    shown: ShownTool
    call: ReadCall
    sure: float | None


@dataclass(frozen=True, slots=True)
class _Draft:
    """A proposal, its copies put right, and the call that it would be by itself."""

    proposal: Proposal
    settled: Settled
    call: ReadCall


class PlannedTurn:
    """The calls of one turn, made of what the model proposes.

    Args:
        request: what was asked, taken apart.
        asks: whether questions may be put with `ask_user`.
        answers: to the questions of the turn before; then only the calls that waited for them are made.
    """

    def __init__(self, request: Utterance, *, asks: bool, answers: Sequence[Any] | None = None) -> None:
        self._request = request
        self._asks = asks
        self._answers = None if answers is None else list(answers)
        self._made: list[_Made] = []
        self.sealed = 0

    def calls(self, proposals: Sequence[Proposal]) -> Iterator[ToolCallSealed]:
        """Yield the calls: complete ones, then those that need others' results, then what lacks something."""
        self._made = self._read(proposals)
        # The answers must find the calls that the questions were put for.
        lacking = _in_order(made for made in self._made if made.call.unsaid)
        linked = [made for made in self._made if made.call.linked and not made.call.unsaid]
        # What needs the result of a call that lacks something is made with it.
        later = [made for made in linked if any(source.call.unsaid for source in self._sources(made).values())]
        if self._answers is None:
            complete = [made for made in self._made if not made.call.unsaid and not made.call.linked]
            yield from map(self._seal, complete)
            yield from (self._seal(self._joined(made)) for made in linked if made not in later)
            if self._asks:
                for made in lacking:
                    yield from (self._ask(made, name) for name in made.call.unsaid[:_MOST_QUESTIONS])
            if self._asks or not self.sealed:
                return
        yield from (self._seal(self._answered(self._joined(made))) for made in lacking)
        yield from (self._seal(self._joined(made)) for made in later)

    def _read(self, proposals: Sequence[Proposal]) -> list[_Made]:
        """Read the proposals that are made, each call once."""
        drafts = [draft for proposal in proposals if (draft := self._draft(proposal)) is not None]
        candidates = [Candidate(d.proposal, d.settled, len(self._lacks(d, drafts))) for d in drafts]
        kept = chosen(candidates, self._request)
        taken = [stretch for one in kept for stretch in one.stretches]
        calls: list[tuple[Proposal, ReadCall]] = []
        for one in kept:
            call, more = self._completed(one.proposal, one.settled, taken)
            taken += more
            calls.append((one.proposal, call))
        donors = [(proposal.shown, call) for proposal, call in calls]
        made: list[_Made] = []
        for number, (proposal, call) in enumerate(calls):
            others = [*donors[:number], *donors[number + 1 :], *self._whole(proposal, drafts)]
            self._add(made, proposal, inherited(call, proposal.shown, others, except_for=self._open(proposal)))
        return made

    def _open(self, proposal: Proposal) -> Sequence[str]:
        """Return what the model, shown all of the request, found unsaid."""
        written = parse_call(proposal.line.text, tuple(proposal.shown.parameters))
        return written.unsaid if written is not None and self._is_whole(proposal) else ()

    def _is_whole(self, proposal: Proposal) -> bool:
        return proposal.clause.text == self._request.text

    def _whole(self, proposal: Proposal, drafts: Sequence[_Draft]) -> list[Donor]:
        """Return what the model wrote of a clause's tool when it was shown all of the request."""
        return [
            (draft.proposal.shown, draft.call)
            for draft in drafts
            if draft.proposal.shown is proposal.shown
            and self._is_whole(draft.proposal)
            and not self._is_whole(proposal)
        ]

    def _lacks(self, draft: _Draft, drafts: Sequence[_Draft]) -> Sequence[str]:
        """Return what a call would lack beside the likeliest of the other calls."""
        proposal = draft.proposal
        others = [
            (d.proposal.shown, d.call) for d in drafts if d is not draft and d.proposal.clause is not proposal.clause
        ]
        return inherited(draft.call, proposal.shown, others, except_for=self._open(proposal)).unsaid

    def _add(self, made: list[_Made], proposal: Proposal, call: ReadCall) -> None:
        """Add a call, or what it has more than one that is there already."""
        shown = proposal.shown
        if not call.unsaid and not call.linked:
            call = replace(call, arguments=dict(self._accepted(shown.tool, call.arguments)))
        for index, other in enumerate(made):
            if other.shown.name == shown.name and (both := united(other.call, call)) is not None:
                made[index] = replace(other, call=both)
                return
        if len(made) < _MOST_CALLS:
            made.append(_Made(len(made) + 1, shown, call, proposal.line.sure))

    def _draft(self, proposal: Proposal) -> _Draft | None:
        """Read a proposal as if it were the only one; None when it is no call."""
        shown = proposal.shown
        written = parse_call(proposal.line.text, tuple(shown.parameters))
        if written is None:
            return None
        written = weighed(written, proposal.line, shown, proposal.clause)
        written = borne_out(written, proposal.line, shown, proposal.clause)
        held = settled(written, shown, proposal.clause)
        call, _ = self._completed(proposal, held, moved(held.stretches, proposal.start))
        return _Draft(proposal, held, call)

    def _completed(self, proposal: Proposal, held: Settled, taken: Sequence[Place]) -> tuple[ReadCall, list[Place]]:
        """Read and complete a call of a part of the request; `taken`, and what it takes, are places in all of it."""
        shown, clause = proposal.shown, proposal.clause
        call = read_call(held.call, shown.parameters, clause)
        call, more = completed(call, held, shown, clause, moved(taken, -proposal.start))
        return call, moved(more, proposal.start)

    def _sources(self, made: _Made) -> dict[str, _Made]:
        """Return the call whose result suits best, for each argument that another call's result gives."""
        others = _in_order(other for other in self._made if other is not made and not other.call.linked)
        names = made.call.linked if others else ()
        return {name: max(others, key=lambda other: _suits(other.shown, name)[0]) for name in names}

    def _joined(self, made: _Made) -> _Made:
        """Point a call at the results that it needs."""
        arguments = json.loads(json.dumps(made.call.arguments, default=str))
        for name, source in self._sources(made).items():
            if self._answers is not None and not source.call.unsaid:
                continue  # it was made in the turn before, maybe under another number
            field = _suits(source.shown, name)[1]
            reference = {"$from": f"${source.number}"} | ({"path": join_pointer([field])} if field else {})
            put(arguments, made.shown.parameters[name].path, reference)
        return replace(made, call=replace(made.call, arguments=arguments))

    @property
    def question(self) -> str:
        """What to say when nothing can be called yet; empty when nothing is lacking."""
        asked = []
        for made in self._made:
            if not made.call.unsaid:
                continue
            wanted = [_plain(name) for name in made.call.unsaid]
            listed = wanted[0] if len(wanted) == 1 else f"{', '.join(wanted[:-1])} and {wanted[-1]}"
            asked.append(f"{_doing(made.shown)}: please tell me the {listed}.")
        return " ".join(asked)

    def _ask(self, made: _Made, name: str) -> ToolCallSealed:
        self.sealed += 1
        slot = made.shown.parameters[name].slot
        asked: dict[str, Any] = {"question": f"{_doing(made.shown)}: which {_plain(name)}?"}
        if slot.kind is SlotKind.BOOLEAN:
            asked |= {"question": f"{_doing(made.shown)}: {_plain(name)}?", "kind": "confirm"}
        elif 0 < len(slot.options) <= _MOST_CHOICES and not slot.many:
            asked |= {"kind": "choice", "choices": [str(option) for option in slot.options]}
        return ToolCallSealed(ASK_USER_NAME, json.dumps(asked, ensure_ascii=False).encode())

    def _answered(self, made: _Made) -> _Made:
        """Return a call with the answers to what it lacked."""
        arguments = json.loads(json.dumps(made.call.arguments, default=str))
        unsaid = list(made.call.unsaid)
        for name in made.call.unsaid[:_MOST_QUESTIONS]:
            answer = self._answers.pop(0) if self._answers else None
            if answer is not None:
                put(arguments, made.shown.parameters[name].path, self._meant(made.shown.parameters[name], answer))
                unsaid.remove(name)
        return replace(made, call=ReadCall(arguments, tuple(unsaid)))

    def _meant(self, parameter: Parameter, answer: Any) -> Any:
        if not isinstance(answer, str):
            return answer
        today = self._request.today
        try:
            return read_value(parameter.slot, answer.strip(), analyse(answer, today) if today else self._request)
        except Unreadable:
            return answer

    def _seal(self, made: _Made) -> ToolCallSealed:
        self.sealed += 1
        lacks = bool(made.call.unsaid)
        told = made.call.arguments if lacks else self._accepted(made.shown.tool, made.call.arguments)
        text = json.dumps(told, ensure_ascii=False, default=str)
        name = made.shown.name
        return ToolCallSealed(name, text.encode(), provider_id=f"${made.number}", confidence=made.sure)

    def _accepted(self, tool: PreparedTool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments in the tool's canonical form.

        What the tool refuses may be understood another way; what it refuses in every way it is
        given all the same, for its complaint says best what is wrong.
        """
        if '"$from"' in json.dumps(arguments, default=str):
            return arguments
        accepted = accepted_arguments(tool, [arguments])
        if accepted is None and tool.spec.normalise is not None:
            others = [{**arguments, **dict(way.values)} for way in tool.fill(self._request)]
            accepted = accepted_arguments(tool, others)
        return arguments if accepted is None else accepted


def _in_order(calls: Iterable[_Made]) -> list[_Made]:
    """Sort calls by their tools: these are asked about all at once, and whose line comes first is chance."""
    return sorted(calls, key=lambda made: made.shown.name)


def _doing(shown: ShownTool) -> str:
    # `ask_user` takes no question without end.
    return shown.tool.spec.description.split("\n", 1)[0][:_LONGEST_DOING].strip().rstrip(".")


def _plain(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _suits(source: ShownTool, name: str) -> tuple[int, str]:
    """Return how well a tool's result suits an argument, and the field of it to take ("" for the whole result)."""
    fields = list((source.tool.spec.output_schema or {}).get("properties", {}))
    wanted = set(name_words(name.rpartition(".")[2]))
    near = [(len(wanted & set(name_words(field))), field) for field in fields]
    points, field = max(near, key=lambda pair: pair[0], default=(0, ""))
    if points == 0 and len(fields) != 1:
        return 0, fields[0] if fields else ""
    return points, field
