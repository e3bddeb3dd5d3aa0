"""The objective (Eq. 3-5) and the steps that minimise it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dskd_core.config.recipes import RecipeConfig
from dskd_core.config.settings import (
    DiskBytes,
    Name,
    Seed,
    Settings,
    Share,
    Steps,
    TokenLimit,
    Weight,
)


class TrainingConfig(Settings):
    """Distillation (Eq. 3-5). KD is the same run with positive_weight = negative_weight = 0."""

    mode: Literal["auto", "cached", "online", "precomputed"] = "auto"
    """cached: the teacher runs once and leaves its activations for all epochs, seeds and arms.
    online: the teacher runs beside the student. auto: cached where max_activation_bytes suffice,
    else online. precomputed: activations made elsewhere; the teacher's weights are never read."""
    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = "forward_kl"
    """What the teacher's and the student's distributions are compared with; forward in the paper,
    and the only one that needs no second pass over the vocabulary."""
    n_candidates: Annotated[int, Field(ge=1, le=1000)] = 5
    """kappa: nearest positives, and nearest negatives, kept of a position, in 8 kappa bytes."""
    positive_weight: Weight = 1.0
    """beta_p: weight of the pull to the senses of the next token and of its synonyms."""
    negative_weight: Weight = 1.0
    """beta_n: weight of the push from the senses of antonyms."""
    margin: Weight | Literal["calibrated"] = 1.0
    """gamma: MSE below which an antonym's sense pushes; calibrated takes the margin_quantile of
    that MSE between the teacher's states and the antonyms' senses nearest to them."""
    margin_quantile: Share = 0.5
    """Quantile that a calibrated margin is set to."""
    state_weight: Weight = 0.0
    """Weight of plain MSE(student state, teacher state): the control arm, 0 in the paper."""
    kl_weight: Weight = 0.7
    """alpha: weight of T^2 KL(teacher || student)."""
    temperature: Annotated[float, Field(ge=0.01, le=1000.0)] = 2.0
    """T: temperature of the KL. Below 0.01 float32 overflows, above 1,000 all is uniform."""
    recipes: Annotated[tuple[RecipeConfig, ...], Field(max_length=16)] = ()
    """Objectives of your own, as lists of terms; evaluation.arms takes their names."""
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 1.5e-4
    """Peak learning rate of AdamW, by which every weight may move in one step."""
    weight_decay: Weight = 1e-3
    """Weight decay of AdamW."""
    warmup_share: Share = 0.1
    """Share of the steps in which the learning rate rises; then it falls along a cosine."""
    n_epochs: Annotated[float, Field(gt=0.0, le=100_000.0)] = 2.0
    """Passes over the training windows; many are for texts of a few windows."""
    max_train_tokens: TokenLimit | None = None
    """Train on so many tokens of the corpus only; all of them if empty."""
    max_heldout_tokens: TokenLimit | None = None
    """Score so many held-out tokens only; all of them if empty."""
    batch_windows: Annotated[int, Field(ge=1, le=1 << 20)] = 8
    """Windows of one step, over all ranks and accumulated batches; at most as many as there are."""
    length_sorted_steps: Annotated[int, Field(ge=1, le=10**6)] = 1
    """Windows of so many steps are sorted by length before they are dealt out to these steps, which
    come in random order: less padding where lengths differ, as those of prompts do. 1: as drawn."""
    n_accumulated: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    """Batches one step's windows are cut into, one after the other, to save memory; times n_ranks,
    at most batch_windows, since a batch has a window."""
    n_ranks: Annotated[int, Field(ge=1, le=1024)] = 1
    """Data-parallel processes, each with its own share of a step's windows: of this machine, or
    under dskd torchrun of all machines together. A machine needs a GPU for each of its own or,
    without any, a processor."""
    prompt_weight: Weight = 1.0
    """Weight of a prompt's positions in CE and KL, where the text has prompts and answers."""
    answer_weight: Weight = 1.0
    """Weight of an answer's positions in CE and KL."""
    max_grad_norm: Annotated[float, Field(gt=0.0, le=1e6)] | None = 1.0
    """Gradients are scaled down to this norm; not clipped if empty."""
    semantic_positions: Literal["sampled", "all"] = "sampled"
    """Which positions get L_sem: a sample as in the paper (see related_share), or every one."""
    related_share: Share = 0.4
    """Share of a window's positions with relations that get L_sem, and as many random others."""
    min_related: Annotated[int, Field(ge=0, le=1 << 20)] = 25
    """At least so many of them, where there are so many."""
    compute_dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Precision of the matrix products; master weights, softmax and sums are float32. auto:
    bfloat16 where the device multiplies it natively, else float32."""
    max_activation_bytes: DiskBytes = 8 << 30
    """Most bytes of stored activations; a plan beyond it is refused."""
    log_steps: Steps = 1
    """Steps whose terms are read from the device, and guarded, at a time. Above 1 a GPU waits for
    nobody in between, and a bad loss is refused up to so many steps late; students are the same."""
    checkpoint_steps: Steps = 20
    """Steps between checkpoints a killed run resumes from."""
    n_checkpoints: Annotated[int, Field(ge=1, le=1000)] = 1
    """Latest checkpoints kept of a run that is not finished; each has the trained layers thrice."""
    validation_steps: Steps | None = None
    """Score the student on validation documents every so many steps; never if empty."""
    validation_share: Share = 0.2
    """Share of the held-out documents used for that, and left out of the final scores."""
    keep: Literal["last", "best"] = "last"
    """Export the weights of the last step, or those of the lowest validation CE."""
    max_loss_growth: Annotated[float, Field(gt=1.0, le=1e6)] = 10.0
    """Stop where the loss exceeds so many times the median of the last 50 steps."""
    compile_head: bool = True
    """Compile the element-wise part of the vocabulary pass where a compiler is found."""
    compile_layers: bool = True
    """Compile the trained layers, likewise, and online the teacher's, for windows of full length;
    half a minute once, which some hundreds of steps repay."""
    hub_repository: Name | None = None
    """Push finished students to this hub repository, a branch each; not pushed if empty."""
    trackers: Annotated[
        tuple[Literal["tensorboard", "wandb", "mlflow"], ...], Field(max_length=3)
    ] = ()
    """Tell these the terms of every step, beside Prefect; each must be installed. Files of theirs
    lie in logs, below a local root. Their credentials are the environment's (WANDB_API_KEY)."""
    seed: Seed = 0
    """Order of the windows and choice of the positions."""

    @property
    def ranks_synonyms(self) -> bool:
        """Whether a recipe ranks synonyms before antonyms, and so needs both by themselves."""
        return any(one.ranks_synonyms for one in self.recipes)

    @property
    def reads_gap(self) -> bool:
        """Whether a recipe needs the teacher's state behind the gap between the layers copied."""
        return any(one.reads_gap for one in self.recipes)

    @property
    def fits_starts(self) -> bool:
        """Whether a recipe starts with the gap between the layers copied closed."""
        return any(one.start == "fitted" for one in self.recipes)

    @property
    def other_temperatures(self) -> tuple[float, ...]:
        """Temperatures of recipes besides temperature, ascending; targets are kept for each."""
        terms = [term for one in self.recipes for term in one.terms if term.term == "kl"]
        return tuple(
            sorted({t.temperature or self.temperature for t in terms} - {self.temperature})
        )

    @property
    def validated_share(self) -> float:
        """Share of the held-out documents that is for validation: 0 where there is none."""
        return self.validation_share if self.validation_steps else 0.0

    @model_validator(mode="after")
    def _every_batch_has_a_window(self) -> Self:
        if self.n_ranks * self.n_accumulated > self.batch_windows:
            raise ValueError(
                f"n_ranks {self.n_ranks} times n_accumulated {self.n_accumulated} are more batches "
                f"than a step has windows (batch_windows {self.batch_windows}); lower them, or "
                "raise batch_windows"
            )
        return self

    @model_validator(mode="after")
    def _recipes_have_names_of_their_own(self) -> Self:
        names = [recipe.name for recipe in self.recipes]
        if len(set(names)) < len(names):
            raise ValueError(f"recipes {names} name one twice; give each a name of its own")
        return self

    @model_validator(mode="after")
    def _the_best_is_measured(self) -> Self:
        if self.keep == "best" and self.validation_steps is None:
            raise ValueError("keep 'best' needs a validation CE; set validation_steps")
        return self
