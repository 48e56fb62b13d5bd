"""What may go wrong on the way from videos to captions, and the tests that say how it ends: with a clear message, a
status that is not zero or a recorded skip, nothing corrupt, and a rerun that completes.

The table is `FAILURES`; tests that take long are marked slow (`make test-slow`).
"""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
EXTRACTION, TRAINING = "extractors/test_disturbed_extraction.py", "test_disturbed_training.py"
GRAPHS, KNOWLEDGE = "graphs/test_disturbed_graphs.py", "graphs/knowledge/test_disturbed_knowledge.py"
STORE, CHECKPOINT = "utility/test_feature_store.py", "utility/test_checkpoint.py"

# failure -> tests, `file::test` below tests/
FAILURES = {
    "kill -9 at ten random moments of extraction": [
        f"{EXTRACTION}::test_ten_kills_at_random_moments_lose_nothing",
        "extractors/test_extraction_runs.py::test_a_run_killed_at_random_moments_ends_like_an_undisturbed_one",
        f"{EXTRACTION}::test_a_video_that_was_stored_when_a_kill_came_gets_its_line_in_the_manifest",
        f"{STORE}::test_a_writer_killed_at_any_moment_loses_at_most_the_video_at_hand",
        f"{STORE}::test_of_a_damaged_part_only_the_last_record_is_lost",
        "extractors/test_compress_video.py::test_killed_run_leaves_nothing_that_looks_finished",
    ],
    "kill -9 at ten random moments of training": [
        f"{TRAINING}::test_ten_kills_at_random_moments_come_to_the_same_parameters",
        f"{TRAINING}::test_what_a_kill_left_half_written_is_cleared_away",
        "test_main.py::test_a_captioner_killed_at_a_random_step_continues_to_the_same_parameters",
        "utility/test_resume.py::test_a_run_killed_at_a_random_step_continues_to_the_same_numbers",
        "utility/test_whole_files.py::test_a_kill_between_the_two_renames_leaves_one_whole_folder",
    ],
    "kill -9 of a process that draws, compresses or reads captions": [
        "dataset/test_disturbed_drawing.py::test_a_killed_process_that_draws_is_a_message_and_the_rerun_completes",
        "dataset/test_disturbed_drawing.py::test_compressing_stops_with_a_message_and_the_rerun_completes",
        "graphs/knowledge/test_triple_files.py::test_a_killed_run_goes_on_with_the_next_video",
    ],
    "a full disk while videos are drawn or compressed": [
        "dataset/test_disturbed_drawing.py::test_a_full_disk_is_a_message_and_the_rerun_completes",
    ],
    "a full disk while features are written": [
        f"{EXTRACTION}::test_a_disk_that_is_really_full",
        f"{EXTRACTION}::test_a_full_disk_during_the_features_is_a_message_and_the_rerun_completes",
        f"{STORE}::test_a_full_disk_is_named_and_loses_nothing",
        f"{STORE}::test_a_disk_that_fills_up_while_parts_are_merged_loses_nothing",
        "dataset/test_clips.py::test_a_disk_without_room_for_the_frames_is_named_before_any_is_decoded",
    ],
    "a full disk while graphs are written": [
        f"{EXTRACTION}::test_a_full_disk_during_a_graph_stage_is_a_message_too",
        f"{GRAPHS}::test_a_full_disk_while_graphs_are_transformed",
        f"{GRAPHS}::test_a_data_set_on_a_disk_that_is_really_full",
        f"{KNOWLEDGE}::test_a_full_disk_is_a_message_and_the_rerun_makes_the_same",
    ],
    "a full disk while a checkpoint is written": [
        f"{TRAINING}::test_a_disk_that_is_really_full",
        f"{TRAINING}::test_a_full_disk_while_a_checkpoint_is_written_keeps_the_one_before",
        f"{CHECKPOINT}::test_a_failure_while_writing_keeps_the_old_one_and_leaves_nothing",
    ],
    "read-only output": [
        f"{EXTRACTION}::test_a_folder_that_cannot_be_written_to_is_a_message",
        f"{TRAINING}::test_a_folder_that_cannot_be_written_to_is_a_message",
        f"{KNOWLEDGE}::test_a_folder_that_cannot_be_written_to_is_a_message",
    ],
    "a video that vanishes between listing and opening": [
        f"{EXTRACTION}::test_a_video_that_vanishes_between_listing_and_opening_is_a_recorded_failure",
    ],
    "names with blanks, quotes, non-Latin letters, 255 bytes; equal stems in two folders": [
        f"{EXTRACTION}::test_files_of_any_name_are_extracted_under_their_own",
        f"{STORE}::test_arrays_come_back_for_every_kind_of_id",
        "extractors/test_compress_video.py::test_a_name_may_be_as_long_as_the_system_allows_and_begin_another_one",
        "dataset/test_corpus.py::test_two_files_with_one_stem_are_an_error_only_where_that_id_is_wanted",
    ],
    "an annotation with an id twice": ["dataset/test_corpus.py::test_broken_annotations_are_refused_by_name"],
    "ids without captions, captions without ids; an empty caption, one of 500 words, one of unknown words": [
        f"{TRAINING}::test_captions_of_every_kind_train",
        "dataset/test_corpus.py::test_absent_files_blank_captions_and_strangers_are_reported_not_fatal",
        "dataset/test_captioning.py::test_captions_without_a_known_word_are_left_out",
    ],
    "features of the wrong width": [
        f"{TRAINING}::test_features_of_another_width_in_one_video_are_refused_by_name",
        "dataset/test_captioning.py::test_unusable_rows_name_file_and_video",
    ],
    "features with NaN": [
        "dataset/test_captioning.py::test_unusable_features_name_file_and_video",
        "extractors/test_extraction_runs.py::test_features_that_are_not_finite_end_the_run_and_name_the_video",
        f"{STORE}::test_values_that_cannot_be_stored_are_refused",
    ],
    "features that are all zero": [f"{TRAINING}::test_features_that_are_all_zero_train_to_finite_numbers"],
    "features of another backbone": [
        "test_main.py::test_other_features_than_those_of_the_training_are_refused",
        "extractors/test_in_memory.py::test_another_network_is_refused_by_name",
        "extractors/test_file_relations.py::test_another_backbone_is_refused_by_name",
        "extractors/test_extraction_runs.py::test_another_setting_is_refused_and_named",
    ],
    "a truncated checkpoint": [
        f"{TRAINING}::test_a_truncated_checkpoint_is_named",
        f"{CHECKPOINT}::test_a_damaged_file_is_reported_as_such",
    ],
    "a hostile checkpoint, whose pickle would run code": [
        f"{CHECKPOINT}::test_a_training_state_that_would_run_code_is_not_loaded",
        f"{CHECKPOINT}::test_weight_files_are_read_without_running_code",
        "pretrained/test_captioners.py::test_hostile_files_are_refused_by_name_and_run_nothing",
        "pretrained/test_i3d_weights.py::test_weight_files_run_no_code",
        "pretrained/test_retrieval_weights.py::test_nothing_stored_is_run",
        "graphs/test_published_files.py::test_hostile_and_broken_pickles",
    ],
    "keys with module. and _orig_mod.": [f"{CHECKPOINT}::test_exports_come_back_without_wrapper_prefixes"],
    "a rank that dies": [
        f"{EXTRACTION}::test_a_rank_that_dies_ends_the_run_and_any_number_of_processes_completes_it",
        f"{GRAPHS}::test_what_ends_one_process_ends_the_others_in_words",
        "utility/test_program.py::test_a_process_that_lost_another_one_says_so",
        "utility/test_resume.py::test_two_processes_of_which_one_is_killed_continue_to_the_same_numbers",
        f"{STORE}::test_parts_of_more_processes_than_now_are_taken_over",
    ],
    "ranks with different amounts of data": [
        "extractors/test_extraction_runs.py::test_two_processes_share_the_videos_and_make_the_same_files",
        f"{GRAPHS}::test_more_processes_than_videos",
        "utility/test_distributed.py::test_samplers_of_all_ranks_together_visit_every_index_once",
        "utility/test_loader.py::test_the_rest_of_an_epoch_is_kept_on_request",
    ],
    "a killed data-loader worker": ["utility/test_loader.py::test_a_killed_worker_ends_the_epoch_with_advice"],
    "a non-finite loss at step k": [
        "test_main.py::test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_videos",
        "utility/test_engine.py::test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_samples",
        "utility/test_engine.py::test_a_gradient_that_is_not_finite_stops_too",
    ],
    "no GPU, no network, no Java, no extension wheels": [
        f"{TRAINING}::test_without_gpu_network_java_and_extensions_it_trains_and_scores",
        "utility/test_distributed.py::test_wrong_devices_are_refused",
        "pretrained/test_zoo.py::test_without_a_network_the_address_and_the_place_are_told",
        "utility/test_caption_scores.py::test_without_java_only_meteor_is_missing",
        "graphs/test_extensions.py::test_absent_extensions_are_skipped_unless_they_are_required",
    ],
    "two writers on one output": [
        f"{STORE}::test_two_runs_at_once_are_refused",
        "graphs/test_stages.py::test_two_runs_at_once_are_an_answer_and_no_traceback",
        f"{TRAINING}::test_two_trainings_into_one_folder_are_refused",
        f"{KNOWLEDGE}::test_two_runs_at_once_are_refused",
    ],
    "Ctrl-C while a corpus is drawn or compressed": [
        "dataset/test_disturbed_drawing.py::test_ctrl_c_keeps_what_is_drawn",
        "dataset/test_disturbed_drawing.py::test_ctrl_c_in_a_terminal_while_processes_compress",
        "dataset/test_disturbed_drawing.py::test_compressing_stops_with_a_message_and_the_rerun_completes",
    ],
    "Ctrl-C in extraction": [
        f"{EXTRACTION}::test_ctrl_c_keeps_what_is_stored_and_says_how_to_go_on",
        f"{EXTRACTION}::test_ctrl_c_in_the_program_of_a_single_stage",
        f"{EXTRACTION}::test_ctrl_c_in_a_terminal_reaches_all_threads",
    ],
    "Ctrl-C in graph stages": [
        f"{GRAPHS}::test_ctrl_c_in_every_graph_stage",
        f"{GRAPHS}::test_ctrl_c_while_graphs_are_transformed",
    ],
    "Ctrl-C in the programs of the knowledge graph": [
        f"{KNOWLEDGE}::test_ctrl_c_keeps_what_is_stored_and_the_rerun_makes_the_same",
    ],
    "Ctrl-C in trainings": [
        f"{TRAINING}::test_ctrl_c_saves_after_the_step_and_the_run_continues_to_the_same_parameters",
        f"{TRAINING}::test_ctrl_c_in_a_terminal_lets_the_processes_that_load_finish_the_step",
        f"{TRAINING}::test_ctrl_c_in_a_terminal_stops_all_processes_of_torchrun",
        "scripts/test_train_action_network.py::"
        "test_ctrl_c_saves_after_the_step_and_the_run_continues_to_the_same_numbers",
        "test_train_unified_model.py::test_an_interrupted_run_continues_as_if_nothing_had_been",
        "scripts/test_train_recogniser.py::test_resumed_equals_uninterrupted",
        "utility/test_resume.py::test_ctrl_c_saves_after_the_step_and_the_run_continues_to_the_same_numbers",
    ],
    "Ctrl-C while captions are made": [
        f"{TRAINING}::test_ctrl_c_while_captions_are_made",
        f"{TRAINING}::test_ctrl_c_while_a_checkpoint_is_scored",
    ],
    "graphs without edges, isolated nodes, a batch of empty videos": [
        f"{TRAINING}::test_graphs_without_edges_and_videos_without_nodes_train_to_finite_numbers",
        f"{GRAPHS}::test_graphs_without_edges_and_without_nodes_are_stacked_and_batched",
        "graphs/test_parts.py::test_absent_nodes_have_no_edges_and_no_features",
        "graphs/test_parts.py::test_temporal_of_an_empty_slot_is_zero_not_nan",
        "model/captioner/test_captioner.py::test_a_video_without_any_slot_gives_finite_numbers",
        "model/captioner/test_graph_convolution.py::test_absent_nodes_neither_send_nor_receive",
        "extractors/test_objects.py::test_frames_and_videos_without_objects_give_empty_nodes",
    ],
    "an empty validation split": [f"{TRAINING}::test_without_a_validation_split_the_last_epoch_counts"],
    "a single sample": [f"{TRAINING}::test_a_single_video_with_a_single_caption_trains_and_is_captioned"],
    "videos that are broken, empty, too short, without pictures": [
        "extractors/test_extraction_runs.py::test_broken_clips_are_recorded_failures_with_stage_and_cause",
        f"{EXTRACTION}::test_a_strict_run_with_a_broken_video_builds_all_graphs_of_the_others",
        "extractors/test_extraction_runs.py::test_a_corpus_of_broken_clips_ends_with_an_error_and_no_file",
    ],
}


@cache
def defined_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_has_its_tests(failure):
    absent = [
        place for place in FAILURES[failure] if place.partition("::")[2] not in defined_in(place.partition("::")[0])
    ]
    assert FAILURES[failure] and not absent


def test_every_test_of_a_disturbance_is_in_the_table():
    """Apart from mistakes of ours, which are no failure of a machine or a user."""
    named = {place for places in FAILURES.values() for place in places}
    files = [path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_disturbed_*.py")]
    own = {f"{file}::{test}" for file in files for test in defined_in(file)}
    ours = {
        f"{GRAPHS}::test_a_stage_that_fails_keeps_what_it_has_stored",
        f"{GRAPHS}::test_a_data_set_that_was_there_outlives_a_failure",
    }
    assert len(files) >= 5 and own - named == ours
