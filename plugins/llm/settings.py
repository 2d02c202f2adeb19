"""What can be set of the plugin `llm`, and which model and tasks that means."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from plugins.generation.models import Entry, of_file, read_catalog
from plugins.generation.tasks import Task, TaskError, tasks_in

HERE = Path(__file__).parent
TASKS = HERE / "tasks"


@functools.cache
def catalog() -> dict[str, Entry]:
    """The known models, by the names that settings use."""
    return read_catalog(HERE / "catalog.toml", "llm")


class LlmSettings(BaseModel):
    """Which language model, where it runs, and what it is asked."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        "bundled",
        description='"bundled" (knows three little tasks of a made-up world), a name of catalog.toml as "qwen2-5-7b", '
        'or the path of a GGUF file. With backend = "remote": the name that the server knows.',
    )
    quantization: str = Field("", description='As "q8_0"; without it, the first that the catalog has.')
    backend: Literal["local", "remote"] = Field(
        "local", description='"remote": any server that speaks the OpenAI protocol, as llama-server, vLLM or Ollama.'
    )
    url: str = Field("", description='Of the server, as "http://localhost:8080/v1".')
    api_key_variable: str = Field(
        "", description="The environment variable that holds the server's key, if it wants one."
    )
    structured: bool = Field(
        True, description="Whether the server constrains answers to a schema; else JSON is looked for in its answer."
    )
    parallel: int = Field(2, ge=1, le=64, description="Requests to the server at a time.")
    timeout: float = Field(300, gt=0, description="Seconds that the server may take for one answer.")
    context: int = Field(4096, ge=256, le=1_048_576, description="Tokens that a question and its answer may have.")
    tasks: dict[str, tuple[str, ...]] = Field(
        default_factory=lambda: {
            "transcript": ("summary",), "document": ("summary",), "text": ("summary",), "data": ("data-schema",),
        },
        description="What is asked of each kind of event (text, data), and of the text of each type of result "
        "(transcript, document, caption …). `sensorium tasks` lists the tasks.",
    )  # fmt: skip
    task_folder: Path | None = Field(None, description="A folder with tasks of your own, a TOML file each.")
    values: dict[str, JsonValue] = Field(
        default_factory=dict, description='What wordings leave open, as language = "German" or audience = "pupils".'
    )
    most_parts: int = Field(200, ge=1, description="Parts that a long text is cut into; longer ones are refused.")
    keep_alive: float = Field(300, ge=0, description="Seconds without work until the model leaves memory; 0: at once.")
    threads: int = Field(0, ge=0, description="Threads on a CPU; 0 for as many as the host gives.")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.backend == "remote":
            if not self.url.startswith(("http://", "https://")):
                raise ValueError('backend = "remote" needs the url of a server, as "http://localhost:8080/v1"')
        else:
            self._check_model()
        try:
            known = self.known_tasks
        except TaskError as error:
            raise ValueError(str(error)) from error
        unknown = sorted({name for names in self.tasks.values() for name in names} - set(known))
        if unknown:
            raise ValueError(f"no task is called {unknown[0]!r}; these are: {', '.join(known)}")
        return self

    def _check_model(self) -> None:
        entry = catalog().get(self.model)
        if entry is None and not self.model.endswith(".gguf"):
            raise ValueError(f"model {self.model!r} is not known; these are: {', '.join(catalog())}, and GGUF files")
        if entry is not None and not entry.quantizations:
            raise ValueError(f'model {self.model!r} is for servers: set backend = "remote" and a url')
        if self.quantization and self.quantization not in self.entry.quantizations:
            raise ValueError(f"model {self.model!r} comes as {', '.join(self.entry.quantizations)}")

    @property
    def entry(self) -> Entry:
        """The model that is meant, of a local backend."""
        return catalog().get(self.model) or of_file(self.model, self.context)

    @property
    def weights(self) -> str:
        """The quantization that is meant."""
        return self.quantization or self.entry.default

    @property
    def known_tasks(self) -> dict[str, Task]:
        """The tasks that come with the plugin, and those of one's own. Raises TaskError."""
        return tasks_in(TASKS, *([self.task_folder] if self.task_folder else ()))
