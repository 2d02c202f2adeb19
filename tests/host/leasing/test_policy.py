"""The rules of `host.leasing.policy`, one by one, and then all of them in worlds that nobody has thought of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.leasing.policy import (
    HEADSTART,
    PATIENCE,
    PRIORITIES,
    QUANTUM,
    TURN,
    Decision,
    Device,
    Lane,
    Load,
    Model,
    Priority,
    Refuse,
    Run,
    Unload,
    decide,
)  # fmt: skip

CPU = Device("cpu", 1000)
LOADED = {"normal": Lane(loaded_at=100.0)}


def model(name: str, memory_mb: float = 400, *, device="cpu", waiting=0, urgent=0, background=0, since=0.0, **facts):
    jobs = {"interactive": urgent, "normal": waiting, "background": background}
    return Model(name, device, memory_mb, wants={priority: since for priority in jobs if jobs[priority]}, **facts)


def ready(name: str, memory_mb: float = 400, **facts) -> Model:
    return model(name, memory_mb, state="ready", **facts)


def chosen(*models: Model, device: Device = CPU, now: float = 100.0) -> tuple:
    return decide(models, [device], now).actions


# -- one rule each ---------------------------------------------------------------------------------------------------


def test_with_nothing_to_do_nothing_is_done_and_nobody_is_woken():
    assert decide([model("a"), ready("b", pin=True)], [CPU], 100.0) == Decision((), None)


def test_a_model_with_work_is_loaded():
    assert chosen(model("a", waiting=1)) == (Load("a", "cpu", "normal"),)


def test_a_resident_model_with_work_runs():
    assert chosen(ready("a", waiting=1)) == (Run("a", "normal"),)


@pytest.mark.parametrize("state", ["loading", "busy", "unloading"])
def test_nothing_is_begun_on_a_device_where_something_is_under_way(state):
    assert chosen(model("a", state=state), model("b", waiting=9, urgent=1)) == ()


def test_devices_do_not_wait_for_each_other():
    busy = Model("a", "gpu0", 400, state="busy")
    decision = decide([busy, model("b", waiting=1)], [Device("gpu0", 1000), CPU], 100.0)
    assert decision.actions == (Load("b", "cpu", "normal"),)


def test_whoever_was_idle_longest_makes_room():
    models = [ready("young", 500, idle_since=90), ready("old", 400, idle_since=10), model("new", 500, waiting=1)]
    assert chosen(*models) == (Unload("old", "room for new"),)


def test_no_more_leave_than_the_room_needs():
    models = [ready("a", 300, idle_since=1), ready("b", 300, idle_since=2), ready("c", 300, idle_since=3)]
    assert chosen(*models, model("new", 600, waiting=1)) == (
        Unload("a", "room for new"),
        Unload("b", "room for new"),
    )


def test_what_outgrew_the_budget_makes_room_before_the_next_batch():
    assert chosen(ready("grown", 700, waiting=1), ready("idle", 400)) == (Unload("idle", "room for grown"),)


def test_a_pinned_model_stays_when_room_is_needed():
    models = [ready("pinned", 300, pin=True, idle_since=0), ready("other", 400, idle_since=50)]
    assert chosen(*models, model("new", 600, waiting=1)) == (Unload("other", "room for new"),)


def test_a_model_that_can_never_fit_is_refused_with_the_numbers_and_nobody_leaves_for_it():
    (refusal,) = chosen(ready("idle"), model("giant", 1001, waiting=1))
    assert refusal == Refuse("giant", "giant needs 1001 MB; cpu may use 1000 MB.")


def test_a_model_that_cannot_fit_beside_the_pinned_ones_is_refused_with_what_they_keep():
    (refusal,) = chosen(ready("pinned", 300, pin=True), model("large", 800, waiting=1))
    assert isinstance(refusal, Refuse)
    assert "pinned models keep 300 MB" in refusal.reason


def test_a_model_for_a_gpu_that_is_not_there_is_told_so():
    (refusal,) = decide([model("a", 500, device="gpu", waiting=1)], [Device("gpu", 0)], 0.0).actions
    assert refusal == Refuse("a", "a needs 500 MB on a gpu, and there is none that may be used.")


def test_a_cramped_model_gets_the_device_for_itself():
    models = [ready("cramped", 100, waiting=1, cramped=True), ready("idle", 100), ready("pinned", 100, pin=True)]
    assert chosen(*models) == (Unload("idle", "room for cramped"),)
    assert chosen(models[0], models[2]) == (Run("cramped", "normal"),)


def test_the_one_whose_turn_it_is_goes_on_until_its_quantum_is_over():
    holder = ready("holder", waiting=5, since=99)
    challenger = model("challenger", waiting=1, since=50, load_seconds=2.0)
    turn = replace(CPU, holder="holder", turn_began=100.0, lanes=LOADED)
    assert chosen(holder, challenger, device=turn, now=100 + 2 * QUANTUM - 0.1) == (Run("holder", "normal"),)
    assert chosen(holder, challenger, device=turn, now=100 + 2 * QUANTUM) == (Load("challenger", "cpu", "normal"),)


def test_the_quantum_counts_from_the_last_load_so_that_residents_that_take_turns_cannot_stretch_it():
    residents = [ready("a", 100, waiting=5, since=99), ready("b", 100, waiting=5, since=98)]
    challenger = model("challenger", 100, waiting=1, since=50, load_seconds=2.0)
    turn = replace(CPU, holder="a", turn_began=100 + 2 * QUANTUM - 0.1, lanes=LOADED)
    assert chosen(*residents, challenger, device=turn, now=100 + 2 * QUANTUM) == (Load("challenger", "cpu", "normal"),)


def test_a_change_that_evicts_work_costs_its_loading_too():
    holder = ready("holder", 900, waiting=5, since=99, load_seconds=3.0)
    challenger = model("challenger", 900, waiting=1, since=50, load_seconds=2.0)
    turn = replace(CPU, holder="holder", turn_began=100.0, lanes=LOADED)
    assert chosen(holder, challenger, device=turn, now=100 + 5 * QUANTUM - 0.1) == (Run("holder", "normal"),)
    assert chosen(holder, challenger, device=turn, now=100 + 5 * QUANTUM) == (Unload("holder", "room for challenger"),)


def test_among_residents_whoever_waited_longest_has_the_next_turn():
    residents = [ready("a", waiting=1, since=99), ready("b", waiting=1, since=50)]
    turn = replace(CPU, holder="a", turn_began=100.0)
    assert chosen(*residents, device=turn, now=100 + TURN - 0.1) == (Run("a", "normal"),)
    assert chosen(*residents, device=turn, now=100 + TURN) == (Run("b", "normal"),)


def test_an_idle_model_gives_way_at_once():
    turn = replace(CPU, holder="a", turn_began=99.9)
    assert chosen(ready("a", 900, idle_since=99), model("b", 900, waiting=1), device=turn) == (
        Unload("a", "room for b"),
    )


def test_urgent_work_has_the_next_batch():
    turn = replace(CPU, holder="a", turn_began=99.9, lanes={"normal": Lane(served_at=99.9)})
    models = [ready("a", waiting=50, since=0), ready("b", urgent=1, since=99)]
    assert chosen(*models, device=turn) == (Run("b", "interactive"),)


def test_of_several_with_urgent_work_whoever_waited_longest_has_the_next_batch():
    assert chosen(ready("a", urgent=1, since=99), ready("b", urgent=1, since=50)) == (Run("b", "interactive"),)


def test_a_model_whose_loading_failed_is_left_alone_for_a_while_and_then_tried_again():
    failed = model("a", waiting=1, retry_at=105.0)
    assert decide([failed], [CPU], 100.0) == Decision((), 105.0)
    assert decide([failed], [CPU], 105.0).actions == (Load("a", "cpu", "normal"),)


def test_a_model_that_waits_for_its_retry_holds_up_nobody():
    assert chosen(model("a", urgent=1, retry_at=105.0), model("b", waiting=1)) == (Load("b", "cpu", "normal"),)


def test_an_idle_model_leaves_after_its_keep_alive():
    idle = ready("a", keep_alive=30, idle_since=80)
    assert decide([idle], [CPU], 100.0) == Decision((), 110.0)
    assert decide([idle], [CPU], 110.0).actions == (Unload("a", "idle"),)


def test_keep_alive_of_zero_unloads_at_once_also_while_others_have_work():
    idle = ready("a", keep_alive=0, idle_since=100)
    assert chosen(idle) == (Unload("a", "idle"),)
    assert chosen(idle, ready("b", waiting=3)) == (Unload("a", "idle"),)


def test_a_model_with_work_does_not_expire():
    assert chosen(ready("a", keep_alive=0, idle_since=0, waiting=1)) == (Run("a", "normal"),)


def test_a_pinned_model_never_expires():
    assert decide([ready("a", pin=True, keep_alive=0, idle_since=0)], [CPU], 1e9) == Decision((), None)


def test_interactive_work_is_loaded_for_at_once_whatever_runs():
    turn = replace(CPU, holder="a", turn_began=99.9, lanes={"normal": Lane(loaded_at=99.9, served_at=99.9)})
    models = [ready("a", 900, waiting=50, since=99), model("b", 900, urgent=1, since=99.9)]
    assert chosen(*models, device=turn) == (Unload("a", "room for b"),)


def test_between_two_models_that_somebody_waits_for_the_resident_one_keeps_what_a_change_costs():
    lanes = {"interactive": Lane(loaded_at=100.0, served_at=100.0)}
    models = [ready("a", 900, urgent=1, since=99, load_seconds=3.0), model("b", 900, urgent=1, since=98)]
    assert chosen(*models, device=replace(CPU, lanes=lanes), now=103.9) == (Run("a", "interactive"),)
    assert chosen(*models, device=replace(CPU, lanes=lanes), now=104.0) == (Unload("a", "room for b"),)


def test_background_work_runs_when_nothing_else_waits():
    assert chosen(ready("a", background=1)) == (Run("a", "background"),)
    assert chosen(ready("a", background=1, since=0), ready("b", waiting=1, since=99)) == (Run("b", "normal"),)


@pytest.mark.parametrize(("lower", "higher"), [("normal", "interactive"), ("background", "normal")])
def test_what_higher_priorities_keep_waiting_has_a_batch_after_its_patience(lower, higher):
    busy = Model("a", "cpu", 100, state="ready", wants={higher: 99.0})
    kept_waiting = Model("b", "cpu", 100, state="ready", wants={lower: 0.0})
    device = replace(CPU, lanes={lower: Lane(served_at=100.0), higher: Lane(served_at=100.0)})
    overdue = 100 + PATIENCE[lower]
    assert chosen(busy, kept_waiting, device=device, now=overdue - 0.1) == (Run("a", higher),)
    assert chosen(busy, kept_waiting, device=device, now=overdue) == (Run("b", lower),)


def test_patience_is_longer_where_a_change_costs_more():
    busy = Model("a", "cpu", 900, state="ready", wants={"interactive": 99.0}, load_seconds=6.0)
    kept_waiting = Model("b", "cpu", 900, wants={"normal": 0.0}, load_seconds=6.0)
    device = replace(CPU, lanes={"normal": Lane(served_at=100.0)})
    assert chosen(busy, kept_waiting, device=device, now=219.9) == (Run("a", "interactive"),)
    assert chosen(busy, kept_waiting, device=device, now=220.0) == (Unload("a", "room for b"),)


def test_normal_work_that_needs_a_load_interrupts_background_work_once_that_had_what_the_change_costs():
    models = [ready("a", 900, background=9, since=99, load_seconds=3.0), model("b", 900, waiting=1, since=99)]
    device = replace(CPU, lanes={"background": Lane(loaded_at=100.0, served_at=100.0)})
    assert chosen(*models, device=device, now=103.9) == (Run("a", "background"),)
    assert chosen(*models, device=device, now=104.0) == (Unload("a", "room for b"),)


def test_of_two_that_wait_for_a_load_the_one_for_which_more_work_waits_comes_first():
    little, much = model("little", waiting=1, since=95, backlog=1.0), model("much", waiting=9, since=96, backlog=9.0)
    assert chosen(little, much) == (Load("much", "cpu", "normal"),)


def test_work_that_waits_puts_nobody_off_for_ever():
    little, much = model("little", waiting=1, since=0.0), model("much", waiting=9, since=HEADSTART, backlog=1e9)
    assert chosen(little, much, now=2000.0) == (Load("little", "cpu", "normal"),)


# -- room ------------------------------------------------------------------------------------------------------------


def test_what_is_dear_to_load_is_kept_longer():
    cheap, dear = ready("cheap", 400, idle_since=90, load_seconds=1.0), ready("dear", 400, load_seconds=20.0)
    assert chosen(cheap, dear, model("new", 500, waiting=1)) == (Unload("cheap", "room for new"),)


def test_a_weight_says_how_much_dearer_than_others_a_model_is():
    light, heavy = ready("light", 400, idle_since=90), ready("heavy", 400, weight=20.0)
    assert chosen(light, heavy, model("new", 500, waiting=1)) == (Unload("light", "room for new"),)


def test_a_model_with_work_leaves_after_those_without():
    busy, idle = ready("busy", 400, waiting=1, since=99, idle_since=10), ready("idle", 400, idle_since=90)
    assert chosen(busy, idle, model("new", 500, waiting=1, since=0)) == (Unload("idle", "room for new"),)


def test_a_small_one_does_not_leave_in_vain_before_a_large_one():
    models = [ready("small", 100, idle_since=1), ready("large", 800, idle_since=2), model("new", 700, waiting=1)]
    assert chosen(*models) == (Unload("large", "room for new"),)


def test_an_exclusive_model_has_its_device_for_itself():
    models = [ready("idle", 100), model("alone", 100, waiting=1, exclusive=True)]
    assert chosen(*models) == (Unload("idle", "room for alone"),)


def test_for_others_an_exclusive_model_leaves():
    models = [ready("alone", 100, exclusive=True), model("other", 100, waiting=1)]
    assert chosen(*models) == (Unload("alone", "room for other"),)


@pytest.mark.parametrize("exclusive", [{"pinned"}, {"other"}])
def test_beside_a_pinned_model_an_exclusive_one_is_refused_and_the_other_way_round(exclusive):
    pinned = ready("pinned", 100, pin=True, exclusive="pinned" in exclusive)
    other = model("other", 100, waiting=1, exclusive="other" in exclusive)
    (refusal,) = chosen(pinned, other)
    beside = "other cannot be on cpu beside pinned, which is pinned"
    assert refusal == Refuse("other", f"{beside}: {next(iter(exclusive))} is exclusive.")


def test_a_model_that_never_fits_is_refused_while_its_device_is_busy():
    (refusal,) = chosen(model("a", state="busy"), model("giant", 1001, waiting=1))
    assert isinstance(refusal, Refuse)


def test_a_preloaded_model_is_loaded_before_it_has_work_and_does_not_expire():
    assert chosen(model("a", preload=True)) == (Load("a", "cpu", None),)
    assert decide([ready("a", preload=True, keep_alive=0)], [CPU], 1e9) == Decision((), None)


def test_a_preloaded_model_disturbs_nobody():
    assert chosen(model("a", 700, preload=True), ready("b", 400)) == ()
    assert chosen(model("a", 100, preload=True), ready("b", 400, waiting=1)) == (Run("b", "normal"),)
    assert chosen(model("a", 100, preload=True), ready("b", 400, exclusive=True)) == ()


def test_a_preloaded_model_makes_room_for_work():
    assert chosen(ready("a", 700, preload=True), model("b", 400, waiting=1)) == (Unload("a", "room for b"),)


# -- several devices, and those that are not all ours ----------------------------------------------------------------

GPUS = [Device("gpu0", 1000), Device("gpu1", 1000)]


def on(gpu: str, name: str, **facts) -> Model:
    return model(name, device=gpu, others=tuple(one.name for one in GPUS if one.name != gpu), **facts)


def test_a_model_goes_to_whichever_of_its_devices_is_free():
    busy = on("gpu0", "busy", state="busy")
    assert decide([busy, on("gpu0", "a", waiting=1)], GPUS, 100.0).actions == (Load("a", "gpu1", "normal"),)


def test_a_model_goes_where_nobody_has_to_leave():
    idle = on("gpu0", "idle", memory_mb=900, state="ready")
    assert decide([idle, on("gpu0", "a", waiting=1)], GPUS, 100.0).actions == (Load("a", "gpu1", "normal"),)


def test_a_model_is_loaded_once():
    actions = decide([on("gpu0", "a", waiting=1), on("gpu0", "b", waiting=1, since=1)], GPUS, 100.0).actions
    assert {(action.model, action.device) for action in actions} == {("a", "gpu0"), ("b", "gpu1")}


def test_a_device_that_has_nothing_to_do_for_as_long_as_a_load_takes_is_given_work():
    two = [on("gpu0", "a", state="ready", waiting=9, since=1), on("gpu0", "b", state="ready", waiting=9, since=2)]
    gpu0, gpu1 = GPUS[0], replace(GPUS[1], idle_since=100.0)
    assert decide(two, [gpu0, gpu1], 100.9).actions == (Run("a", "normal"),)
    assert decide(two, [gpu0, gpu1], 101.0).actions == (Unload("b", "gpu1 has nothing to do"),)


def test_a_model_that_is_too_large_for_one_device_and_not_for_another_is_not_refused():
    devices = [GPUS[0], Device("gpu1", 5000)]
    assert decide([on("gpu0", "a", memory_mb=2000, waiting=1)], devices, 0.0).actions == (Load("a", "gpu1", "normal"),)


def test_everything_leaves_a_device_that_is_withdrawn_and_its_work_waits():
    device = replace(CPU, withdrawn=True)
    models = [ready("a", waiting=1), ready("b", pin=True), model("c", urgent=1, preload=True)]
    assert chosen(*models, device=device) == (
        Unload("a", "the device is withdrawn"),
        Unload("b", "the device is withdrawn"),
    )
    assert chosen(model("a", state="busy"), ready("b"), device=device) == (), "the batch that runs is finished"


def test_on_a_device_that_has_shrunk_for_a_while_pinned_models_leave_last():
    models = [ready("pinned", 300, pin=True, idle_since=0), ready("other", 300, idle_since=50)]
    assert chosen(*models, device=replace(CPU, limit_mb=400)) == (Unload("other", "others need the room"),)
    assert [one.model for one in chosen(*models, device=replace(CPU, limit_mb=200))] == ["other", "pinned"]


def test_what_needs_more_than_the_limit_waits_and_is_not_refused():
    assert chosen(model("a", 500, waiting=1), device=replace(CPU, limit_mb=400)) == ()


# -- all of them, anywhere -------------------------------------------------------------------------------------------


@dataclass
class Plan:
    """A model of a made-up world: what it costs, and when its jobs come (`endless`: it always has one more)."""

    name: str
    memory_mb: int
    load: float
    service: float
    batch: int
    keep_alive: float
    pin: bool
    arrivals: list[float]
    urgent: list[float]
    background: list[float]
    exclusive: bool = False
    preload: bool = False
    endless: Priority | None = None

    def queue(self, priority: Priority) -> list[float]:
        return {"interactive": self.urgent, "normal": self.arrivals, "background": self.background}[priority]


@dataclass
class World:
    """Carries decisions out on a clock of its own and looks at each of them."""

    plans: dict[str, Plan]
    budget: float
    now: float = 0.0
    models: dict[str, Model] = field(default_factory=dict)
    device: Device = CPU
    ends: tuple[float, str, str, Priority | None] | None = None
    leaving: list[tuple[float, str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    served: dict[tuple[str, Priority], float] = field(default_factory=dict)
    wake_at: float | None = None

    def __post_init__(self) -> None:
        self.device = Device("cpu", self.budget, lanes={priority: Lane(served_at=0.0) for priority in PRIORITIES})
        for name, plan in self.plans.items():
            self.models[name] = Model(
                name, "cpu", plan.memory_mb, load_seconds=plan.load, keep_alive=plan.keep_alive, pin=plan.pin,
                exclusive=plan.exclusive, preload=plan.preload,
            )  # fmt: skip

    def due(self, name: str, priority: Priority) -> list[float]:
        return [at for at in self.plans[name].queue(priority) if at <= self.now]

    def demand(self) -> list[Model]:
        for name, plan in self.plans.items():
            if plan.endless and name not in self.refused and not self.due(name, plan.endless):
                plan.queue(plan.endless).append(self.now)
            wants = {
                priority: max(min(due), self.served.get((name, priority), 0.0))
                for priority in PRIORITIES
                if (due := self.due(name, priority))
            }
            self.models[name] = replace(self.models[name], wants=wants)
        return list(self.models.values())

    def step(self) -> bool:
        """Decide and act, then go to the next moment; False when nothing will ever happen again."""
        decision = decide(self.demand(), [self.device], self.now)
        self.check(decision)
        for action in decision.actions:
            self.begin(action)
        self.wake_at = decision.wake_at
        return self.advance(again=any(isinstance(action, Refuse) for action in decision.actions))

    def check(self, decision: Decision) -> None:
        actions = decision.actions
        begun = [action for action in actions if not isinstance(action, Refuse)]
        resident = {name: one for name, one in self.models.items() if one.state != "unloaded"}
        pinned = sum(one.memory_mb for one in resident.values() if one.pin)
        if self.ends or self.leaving:
            assert not begun, "something was begun while something was under way"
        assert sum(isinstance(action, Load | Run) for action in actions) <= 1
        if any(isinstance(action, Unload) for action in begun):
            assert all(isinstance(action, Unload) for action in begun), "work beside leaving"
        for action in actions:
            one = self.models[action.model]
            if isinstance(action, Unload):
                assert one.state == "ready"
                assert not one.pin
                rooms = [self.models[other] for other in self.models if action.reason == f"room for {other}"]
                assert all(room.memory_mb + pinned <= self.budget for room in rooms), "left for what can never fit"
            elif isinstance(action, Load):
                assert one.state == "unloaded"
                assert sum(other.memory_mb for other in resident.values()) + one.memory_mb <= self.budget
            elif isinstance(action, Refuse):
                exclusive = one.exclusive or any(other.exclusive for other in resident.values() if other.pin)
                assert one.memory_mb + pinned > self.budget or exclusive
            else:
                assert one.state == "ready"
                assert action.priority in one.wants
                higher = PRIORITIES[: PRIORITIES.index(action.priority)]
                if any(priority in one.wants for one in resident.values() for priority in higher):
                    lane = self.device.lane(action.priority)
                    assert self.now - lane.served_at >= PATIENCE[action.priority], "higher priorities had to wait"
        alone = [one for one in resident.values() if one.exclusive]
        assert not alone or len(resident) == 1 or self.leaving, "an exclusive model shares its device"
        if not (self.ends or self.leaving or actions):
            able = [one for one in self.models.values() if one.wants and one.retry_at <= self.now]
            assert not able, "the device is idle while there is work"

    def begin(self, action: Load | Run | Unload | Refuse) -> None:
        name, plan = action.model, self.plans[action.model]
        if isinstance(action, Refuse):
            self.refused.add(name)
            for priority in PRIORITIES:
                plan.queue(priority).clear()
            plan.endless = None
        elif isinstance(action, Unload):
            self.set(name, state="unloading")
            self.leaving.append((self.now + 0.25, name))
        else:
            loading = isinstance(action, Load)
            self.set(name, state="loading" if loading else "busy")
            if self.device.holder != name:
                self.device = replace(self.device, holder=name, turn_began=self.now)
            if not loading:
                self.serve(name, plan, action.priority)
            what = "load" if loading else "run"
            self.ends = (self.now + (plan.load if loading else plan.service), what, name, action.priority)

    def serve(self, name: str, plan: Plan, priority: Priority) -> None:
        for at in sorted(self.due(name, priority))[: plan.batch]:
            plan.queue(priority).remove(at)

    def set(self, name: str, **facts) -> None:
        self.models[name] = replace(self.models[name], **facts)

    def advance(self, *, again: bool) -> bool:
        moments = [at for at, _ in self.leaving] + ([self.ends[0]] if self.ends else [])
        if not moments:
            queues = [plan.queue(priority) for plan in self.plans.values() for priority in PRIORITIES]
            moments = [at for queue in queues for at in queue if at > self.now]
            moments += [self.wake_at] if self.wake_at is not None else []
        if again:
            return True
        if not moments:
            return False
        assert min(moments) >= self.now, "woken for something that is over"
        self.now = min(moments)
        if self.ends and self.ends[0] <= self.now:
            _, what, name, priority = self.ends
            self.ends = None
            self.set(name, state="ready", idle_since=self.now)
            if what == "load":
                self.device = replace(self.device, turn_began=self.now)
            else:
                self.served[name, priority] = self.now
            if priority is not None:
                stamp = {"loaded_at" if what == "load" else "served_at": self.now}
                lane = replace(self.device.lane(priority), **stamp)
                self.device = replace(self.device, lanes={**self.device.lanes, priority: lane})
        for _, name in [one for one in self.leaving if one[0] <= self.now]:
            self.set(name, state="unloaded")
            if self.device.holder == name:
                self.device = replace(self.device, holder=None)
        self.leaving = [one for one in self.leaving if one[0] > self.now]
        return True


moments = st.floats(0, 60, allow_nan=False)


@st.composite
def plans(draw: st.DrawFn, names: str = "abcd") -> dict[str, Plan]:
    found = {}
    for name in names[: draw(st.integers(1, len(names)))]:
        found[name] = Plan(
            name=name,
            memory_mb=draw(st.integers(1, 1100)),
            load=draw(st.floats(0.1, 5)),
            service=draw(st.floats(0.01, 3)),
            batch=draw(st.integers(1, 8)),
            keep_alive=draw(st.sampled_from([0.0, 1.0, 300.0])),
            pin=draw(st.sampled_from([False, False, False, True])),
            arrivals=draw(st.lists(moments, max_size=12)),
            urgent=draw(st.lists(moments, max_size=3)),
            background=draw(st.lists(moments, max_size=3)),
            exclusive=draw(st.sampled_from([False, False, False, True])),
            preload=draw(st.sampled_from([False, False, False, True])),
        )
    return found


@given(plans())
@settings(max_examples=150, deadline=None)
def test_every_invariant_holds_and_everything_is_worked_off_in_any_world(found):
    jobs = sum(len(plan.queue(priority)) for plan in found.values() for priority in PRIORITIES)
    world = World(found, 1000)
    for _ in range(50 + 20 * jobs):
        if not world.step():
            break
    else:
        pytest.fail("it does not come to rest")
    assert not any(plan.queue(priority) for plan in found.values() for priority in PRIORITIES)
    assert all(one.state == "unloaded" or one.pin or one.preload for one in world.models.values()), (
        "somebody overstayed"
    )


@st.composite
def greedy_plans(draw: st.DrawFn, priority: Priority = "normal") -> dict[str, Plan]:
    """Models that always have work of a priority, and one that gets a single normal job."""
    found = {}
    for name in "abcd"[: draw(st.integers(2, 4))]:
        found[name] = Plan(
            name=name,
            memory_mb=draw(st.integers(1, 1000)),
            load=draw(st.floats(0.1, 2)),
            service=draw(st.floats(0.2, 2)),
            batch=1,
            keep_alive=300.0,
            pin=False,
            arrivals=[],
            urgent=[],
            background=[],
            endless=None if name == "a" else priority,
        )
    found["a"].arrivals.append(draw(st.floats(0, 30)))
    return found


@given(greedy_plans())
@settings(max_examples=60, deadline=None)
def test_nothing_waits_for_ever_behind_models_that_always_have_work(found):
    arrival = found["a"].arrivals[0]
    load = max(plan.load for plan in found.values())
    service = max(plan.service for plan in found.values())
    # Each of the others may be loaded first, and worked on through what a change costs: a load, and those of all the
    # others that leave amid work. It may be in the middle of a batch then.
    turn = QUANTUM * load * len(found) + service + load + 0.25
    world = World(found, 1000)
    while found["a"].arrivals:
        assert world.step()
        assert world.now <= arrival + len(found) * turn


@given(st.sampled_from(["interactive", "background"]).flatmap(greedy_plans))
@settings(max_examples=60, deadline=None)
def test_nothing_waits_for_ever_behind_work_of_other_priorities_that_never_ends(found):
    arrival = found["a"].arrivals[0]
    service = max(plan.service for plan in found.values())
    cost = max(plan.load for plan in found.values()) * len(found)
    # Its priority has one batch after its patience; until then nothing else than work of its own is loaded before it.
    patience = max(PATIENCE["normal"], QUANTUM * cost)
    world = World(found, 1000)
    while found["a"].arrivals:
        assert world.step()
        assert world.now <= arrival + patience + 2 * cost + 3 * service + 1


def test_a_greedy_resident_lets_the_others_in_after_its_quantum():
    greedy = Plan("greedy", 900, 1.0, 0.5, 8, 300.0, False, [0.0], [], [], endless="normal")
    modest = Plan("modest", 900, 2.0, 0.5, 8, 300.0, False, [5.0], [], [])
    world = World({"greedy": greedy, "modest": modest}, 1000)
    while modest.arrivals and world.now < 1000:
        world.step()
    assert world.now < 1.0 + QUANTUM * (2.0 + 1.0) + 2.0 + 1.0 + 0.5, "the quantum of both loads, and the change itself"
