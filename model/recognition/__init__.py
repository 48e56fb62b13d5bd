"""Action recognition: six ways of tuning prompts on a frozen CLIP."""

from model.recognition.methods import METHODS, Method, build
from model.recognition.recogniser import ClassTexts, Recogniser, Recognition
from model.recognition.settings import Settings

__all__ = ["METHODS", "ClassTexts", "Method", "Recogniser", "Recognition", "Settings", "build"]
