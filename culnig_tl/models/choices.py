"""What a caller can choose of a model, by name. Needs no torch."""

from typing import Any, Literal, get_args

HookedModel = Any  # HookedTransformer | TransformerBridge: they have no base class but nn.Module
ModelClass = Literal["auto", "HookedTransformer", "TransformerBridge"]
Dtype = Literal["float32", "bfloat16", "float16", "float64"]
AnswerFormat = Literal["auto", "cloze", "letter"]
MODEL_CLASSES: tuple[ModelClass, ...] = get_args(ModelClass)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
FORMATS: tuple[AnswerFormat, ...] = get_args(AnswerFormat)
