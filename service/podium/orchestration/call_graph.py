"""Which calls of a run wait for which, and when each may start. Pure: no clock, no tasks.

A call is `ready` once all calls whose results it uses ended well, and `doomed` once that cannot happen
any more; every call becomes one of the two, once.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

__all__ = ["Blockers", "CallGraph", "Doomed", "Step"]

_SHORT_FORM = re.compile(r"c(0|[1-9][0-9]{0,5})")
_SHOWN_IDS = 20
_SHOWN_CIRCLE = 8
_SHOWN_NAME = 60
_SHOWN_CAUSE = 400

# The states of a call; plain numbers, as every call is asked for its state several times.
_WAITING: Final = 0
_STARTED: Final = 1
_DONE: Final = 2
_FAILED: Final = 3
_DOOMED: Final = 4


@dataclass(frozen=True, slots=True)
class Doomed:
    """A call that can never start.

    Attributes:
        message: why, for the model.
        cause: id of the call that failed first; empty when this call itself is wrong.
    """

    call_id: str
    message: str
    cause: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one change brought about: the calls that may start now, and those that never can."""

    ready: tuple[str, ...] = ()
    doomed: tuple[Doomed, ...] = ()


@dataclass(frozen=True, slots=True)
class Blockers:
    """What a call still waits for: calls, names that no call has so far, the end of its turn."""

    calls: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    turn: bool = False

    def __bool__(self) -> bool:
        return bool(self.calls or self.unknown or self.turn)


_NOTHING = Step()


class CallGraph:
    """The calls of one run and what they use of one another.

    A call is known by its id, by the id that the model gave it (`alias`), and to the calls of its own turn
    as `c<index>`. An id goes before an alias of the same turn, that before `c<index>`, and that before the
    alias of an earlier turn, the latest first. What a name means in a turn is settled when it is first
    needed and then stays. A model that numbers its own calls `c1`, `c2`, ... means its own numbers: a call
    with such an alias is not also known as `c<index>`.

    Whatever changes, the cost is that of the calls and references it touches; only a call that others
    referred to before it was there is, when it has to wait itself, searched for circles.
    """

    __slots__ = ("_aliases", "_ended", "_held", "_meanings", "_nodes", "_places", "_unknown", "_waiting")

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._aliases: dict[str, _Node] = {}
        self._places: dict[tuple[int, int], _Node] = {}
        self._meanings: dict[tuple[int, str], _Node] = {}
        self._unknown: dict[tuple[int, str], list[_Node]] = {}
        self._held: dict[int, list[_Node]] = {}
        self._waiting: dict[str, _Node] = {}
        self._ended: set[int] = set()

    def seal(
        self,
        call_id: str,
        *,
        turn: int,
        index: int,
        alias: str = "",
        sources: Sequence[str] = (),
        hold: bool = False,
    ) -> Step:
        """Add a complete call.

        Args:
            call_id: unique in the run.
            turn: the turn that it is written in.
            index: its place in that turn, from 0.
            alias: the id that the model gave it; of two calls of a turn with one alias, the first has it.
            sources: the calls whose results it uses, as the model named them; they may come later.
            hold: it waits for the end of its turn as well.

        Raises:
            ValueError: there is such a call already.
        """
        if call_id in self._nodes:
            raise ValueError(f"call {call_id} is sealed already")
        node = self._nodes[call_id] = _Node(call_id, turn, alias)
        self._places[turn, index] = node
        if alias:
            older = self._aliases.get(alias)
            if older is None or older.turn < turn:
                node.older = older
                self._aliases[alias] = node
        if not (sources or hold or self._unknown):
            node.state = _STARTED
            return Step((call_id,))
        return self._settle(node, index, sources, hold)

    def finish(self, call_id: str, *, ok: bool, cause: str = "") -> Step:
        """Note that a call ended, well or not; `cause` says in words why not.

        A call may end before it was ready, when its caller gave it up. For one that is doomed there is
        nothing left to note.

        Raises:
            ValueError: there is no such call, it ended already, or a doomed one is to have ended well.
        """
        node = self._nodes.get(call_id) or self._node(call_id)
        if node.state != _STARTED:
            if node.state == _DOOMED and not ok:
                return _NOTHING
            if node.state != _WAITING:
                raise ValueError(f"call {call_id} ended already")
            del self._waiting[call_id]
        if not ok:
            node.state, node.origin, node.why = _FAILED, node, cause
            return Step(doomed=tuple(self._cascade([node]))) if node.children else _NOTHING
        node.state = _DONE
        if not node.children:
            return _NOTHING
        return Step(tuple(child.call_id for child in node.children if self._released(child)))

    def end_turn(self, turn: int) -> Step:
        """Note that nothing more comes in a turn; a second time changes nothing.

        Calls that wait for a name which no call has are doomed, those that only waited for the end are ready.
        """
        if turn in self._ended:
            return _NOTHING
        self._ended.add(turn)
        lost: dict[_Node, None] = {}
        if self._unknown:
            for key in [key for key in self._unknown if key[0] == turn]:
                lost.update(dict.fromkeys(self._unknown.pop(key)))
        doomed = self._doom_unknown([node for node in lost if node.state == _WAITING])
        held = self._held.pop(turn, ())
        for node in held:
            node.held = False
        ready = tuple(node.call_id for node in held if self._released(node))
        return Step(ready, tuple(doomed)) if ready or doomed else _NOTHING

    def clear(self) -> None:
        """Forget every call. They refer to each other, and would wait for the garbage collector otherwise."""
        for node in self._nodes.values():
            node.origin_node = node.older = None
            node.parents.clear()
            node.children.clear()
        for table in (
            self._nodes,
            self._aliases,
            self._places,
            self._meanings,
            self._unknown,
            self._held,
            self._waiting,
        ):
            table.clear()

    def name(self, source: str, turn: int) -> str | None:
        """Return the id of the call that a name means to the calls of a turn; None when there is none so far."""
        node = self._meanings.get((turn, source)) or self._meaning(source, turn)
        return None if node is None else node.call_id

    def parents(self, call_id: str) -> tuple[str, ...]:
        """Return the ids of the calls whose results it uses, as far as they are known."""
        return tuple(self._node(call_id).parents)

    def waiting(self) -> tuple[str, ...]:
        """Return the ids of the calls that are neither ready nor doomed nor ended, in the order of sealing."""
        return tuple(self._waiting)

    def blockers(self, call_id: str) -> Blockers:
        """Return what a call still waits for; empty for one that does not wait."""
        node = self._node(call_id)
        if node.state != _WAITING:
            return Blockers()
        calls = tuple(parent.call_id for parent in node.parents.values() if parent.state != _DONE)
        return Blockers(calls, tuple(node.unknown), node.held)

    def _node(self, call_id: str) -> _Node:
        node = self._nodes.get(call_id)
        if node is None:
            raise ValueError(f"call {call_id} is not sealed")
        return node

    def _settle(self, node: _Node, index: int, sources: Sequence[str], hold: bool) -> Step:
        self._waiting[node.call_id] = node
        ended = node.turn in self._ended
        for source in dict.fromkeys(sources):
            known = self._find(source, node.turn)
            if known is None:
                node.unknown[source] = None
                node.left += 1
                if not ended:
                    self._unknown.setdefault((node.turn, source), []).append(node)
            else:
                _use(node, known)
        awaited = self._announce(node, index) if self._unknown else False
        if hold and not ended:
            node.held = True
            node.left += 1
            self._held.setdefault(node.turn, []).append(node)
        doomed = self._doom_circles(node) if awaited or node.call_id in node.parents else []
        if node.state == _WAITING:
            failed = next((parent for parent in node.parents.values() if parent.state >= _FAILED), None)
            if failed is not None:
                doomed = self._doom([node], [_because(failed)], failed.origin)
            elif ended and node.unknown:
                doomed = self._doom_unknown([node])
        if doomed:
            return Step(doomed=tuple(doomed))
        return Step((node.call_id,)) if self._started(node) else _NOTHING

    def _find(self, source: str, turn: int) -> _Node | None:
        known = self._meanings.get((turn, source))
        if known is None:
            known = self._meaning(source, turn)
            if known is not None:
                self._meanings[turn, source] = known
        return known

    def _meaning(self, source: str, turn: int) -> _Node | None:
        node = self._nodes.get(source)
        if node is not None:
            return node
        named = self._aliases.get(source)
        while named is not None and named.turn > turn:
            named = named.older
        if named is not None and named.turn == turn:
            return named
        if short := _SHORT_FORM.fullmatch(source):
            node = self._places.get((turn, int(short[1])))
            if node is not None and not _SHORT_FORM.fullmatch(node.alias):
                return node
        return named

    def _announce(self, node: _Node, index: int) -> bool:
        """Tell the calls that waited for this name; say whether there were any."""
        awaited = False
        for source in dict.fromkeys((node.call_id, node.alias, f"c{index}")):
            key = (node.turn, source)
            if key not in self._unknown or self._find(source, node.turn) is not node:
                continue
            for child in self._unknown.pop(key):
                if child.state == _WAITING:
                    del child.unknown[source]
                    child.left -= 1
                    _use(child, node)
                    awaited = True
        return awaited

    def _released(self, node: _Node) -> bool:
        if node.state != _WAITING:
            return False
        node.left -= 1
        return self._started(node)

    def _started(self, node: _Node) -> bool:
        if node.left:
            return False
        node.state = _STARTED
        del self._waiting[node.call_id]
        return True

    def _doom_unknown(self, nodes: list[_Node]) -> list[Doomed]:
        return self._doom(nodes, [self._no_such_call(node) for node in nodes]) if nodes else []

    def _no_such_call(self, node: _Node) -> str:
        names = " and ".join(f"'{_short(source, _SHOWN_NAME)}'" for source in list(node.unknown)[:_SHOWN_IDS])
        others = len(self._nodes) - 1
        if not others:
            return f"it refers to {names}, and there is no other call"
        latest = islice((call_id for call_id in reversed(self._nodes) if call_id != node.call_id), _SHOWN_IDS)
        earlier = f", and {others - _SHOWN_IDS} before them" if others > _SHOWN_IDS else ""
        wrong = "which is no call" if len(node.unknown) == 1 else "which are no calls"
        return f"it refers to {names}, {wrong}; the calls are {', '.join(reversed([*latest]))}{earlier}"

    def _doom_circles(self, node: _Node) -> list[Doomed]:
        # There was no circle before this call, so every one goes through it: a call is on one if it
        # both uses the new call and is used by it, at whatever remove.
        towards = _search(node, used_by=False)
        if len(towards) == 1 and node.call_id not in node.parents:
            return []
        away = _search(node, used_by=True)
        if not any(parent in away for parent in node.parents.values()):
            return []
        circle = [one for one in self._waiting.values() if one in towards and one in away]
        messages: dict[_Node, str] = {}
        for one in circle:
            if one not in messages:
                around = _circle(one, towards, away)
                text = _in_a_circle([other.call_id for other in around])
                for other in around:
                    messages.setdefault(other, text)
        return self._doom(circle, [messages[one] for one in circle])

    def _doom(self, nodes: list[_Node], messages: list[str], origin: _Node | None = None) -> list[Doomed]:
        doomed = []
        for node, message in zip(nodes, messages, strict=True):
            node.state, node.origin = _DOOMED, origin or node
            node.why = message
            del self._waiting[node.call_id]
            doomed.append(Doomed(node.call_id, message, origin.call_id if origin else ""))
        return doomed + self._cascade(nodes)

    def _cascade(self, ended: list[_Node]) -> list[Doomed]:
        """Doom everything that uses the results of these calls, nearest first."""
        doomed: list[Doomed] = []
        queue = deque(ended)
        while queue:
            parent = queue.popleft()
            for child in parent.children:
                if child.state == _WAITING:
                    child.state, child.origin = _DOOMED, parent.origin
                    del self._waiting[child.call_id]
                    doomed.append(Doomed(child.call_id, _because(parent), parent.origin.call_id))
                    queue.append(child)
        return doomed


class _Node:
    """One call. `left` counts what it waits for; `origin` is the call because of which it cannot be used."""

    __slots__ = (
        "alias",
        "call_id",
        "children",
        "held",
        "left",
        "older",
        "origin_node",
        "parents",
        "state",
        "turn",
        "unknown",
        "why",
    )

    def __init__(self, call_id: str, turn: int, alias: str) -> None:
        self.call_id = call_id
        self.turn = turn
        self.alias = alias
        self.state = _WAITING
        self.left = 0
        self.held = False
        self.parents: dict[str, _Node] = {}
        self.children: list[_Node] = []
        self.unknown: dict[str, None] = {}
        self.older: _Node | None = None
        self.origin_node: _Node | None = None  # itself, which must not be said: it would be garbage of its own
        self.why = ""

    @property
    def origin(self) -> _Node:
        return self.origin_node or self

    @origin.setter
    def origin(self, node: _Node) -> None:
        self.origin_node = None if node is self else node


def _use(child: _Node, parent: _Node) -> None:
    if parent.call_id in child.parents:
        return
    child.parents[parent.call_id] = parent
    if parent.state <= _STARTED:
        child.left += 1
        parent.children.append(child)


def _search(start: _Node, *, used_by: bool) -> dict[_Node, _Node]:
    """Return every waiting call that can be reached, with the one that it was reached from; nearest first."""
    reached = {start: start}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for other in node.children if used_by else node.parents.values():
            if other.state == _WAITING and other not in reached:
                reached[other] = node
                queue.append(other)
    return reached


def _circle(start: _Node, towards: dict[_Node, _Node], away: dict[_Node, _Node]) -> list[_Node]:
    """Return a circle through `start` and the call that all circles share, each followed by one that it uses."""
    around = [start]
    while away[around[-1]] is not around[-1]:
        around.append(away[around[-1]])
    back = [start]
    while towards[back[-1]] is not back[-1]:
        back.append(towards[back[-1]])
    return around + back[-2:0:-1]


def _in_a_circle(ids: list[str]) -> str:
    if len(ids) == 1:
        return f"{ids[0]} refers to its own result; write the value itself, or refer to another call"
    shown = ids if len(ids) <= _SHOWN_CIRCLE else [*ids[: _SHOWN_CIRCLE - 1], f"({len(ids) - _SHOWN_CIRCLE + 1} more)"]
    return (
        f"{' -> '.join([*shown, ids[0]])} refer to each other in a circle; "
        "write one of their arguments without a reference"
    )


def _because(parent: _Node) -> str:
    origin = parent.origin
    ended = "failed" if origin.state == _FAILED else "could not be made"
    why = f": {_short(origin.why, _SHOWN_CAUSE)}" if origin.why else ""
    if parent is origin:
        return f"{origin.call_id}, whose result it uses, {ended}{why}"
    return f"{parent.call_id}, whose result it uses, could not be made because {origin.call_id} {ended}{why}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
