"""Teachers of a few hundred tokens: a random llama with a chat template, with BOS or plain."""

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dskd_core.config import PromptsConfig, PromptSourceConfig, TeacherConfig
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.store.artifacts import ArtifactStore

TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
SPECIAL = ["<pad>", "<bos>", "<end>"]


def make_tokenizer(*, bos, template):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(["Answer with the letter of the right choice."], trainer)
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 1)]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<end>", pad_token="<pad>"
    )
    fast.chat_template = template
    return fast


def write_teacher(folder, *, bos=True, template="{{ bos_token }}" + TEMPLATE):
    tokenizer = make_tokenizer(bos=bos, template=template)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer) + 8,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            eos_token_id=2,
        )
    )
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def arc_rows(n):
    return [
        {
            "id": f"a{i}",
            "question": {
                "stem": f"Which is number {i}?",
                "choices": [{"label": c, "text": f"{c}{i}"} for c in "ABC"],
            },
            "answerKey": "ABC"[i % 3],
        }
        for i in range(n)
    ]


def squad_articles(n_paragraphs, n_questions):
    paragraphs = [
        {
            "context": f"Town {p} lies on river {p}.",
            "qas": [
                {"id": f"s{p}-{i}", "question": f"Where, {i}?", "answers": [{"text": f"river {p}"}]}
                for i in range(n_questions)
            ],
        }
        for p in range(n_paragraphs)
    ]
    return {"data": [{"title": "Towns", "paragraphs": paragraphs}]}


@pytest.fixture(scope="session")
def asked(tmp_path_factory):
    """A teacher with BOS in its template, 30 ARC rows and 12 SQuAD questions."""
    folder = tmp_path_factory.mktemp("prompts")
    write_teacher(folder / "teacher")
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, arc_rows(30))))
    (folder / "train-v2.0.json").write_text(json.dumps(squad_articles(6, 2)))
    config = PromptsConfig(
        sources=(
            PromptSourceConfig(
                task="arc", uri=str(folder / "train.jsonl"), share=0.5, n_exemplars=2
            ),
            PromptSourceConfig(
                task="squad",
                uri=str(folder / "train-v2.0.json"),
                share=1.0,
                n_exemplars=1,
                answer_tokens=6,
            ),
        ),
        heldout_share=0.3,
        batch_tokens=2000,
        shard_tokens=2500,
    )
    teacher_config = TeacherConfig(source=str(folder / "teacher"), dtype="float32", device="cpu")
    store = ArtifactStore(str(folder / "artifacts"))
    return config, teacher_config, prepare_teacher(store, teacher_config)
