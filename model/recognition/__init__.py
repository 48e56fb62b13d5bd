"""Action recognition: six ways of tuning prompts on a frozen CLIP."""

from model.recognition.methods import METHODS, Method, build
from model.recognition.recogniser import Recogniser, Recognition
from model.recognition.settings import Settings
from model.recognition.towers import ClassTexts

__all__ = ["METHODS", "ClassTexts", "Method", "Recogniser", "Recognition", "Settings", "build"]
