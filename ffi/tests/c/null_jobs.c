/* The rest of the matrix of null.c: jobs on engines and nodes, routers, and the trackers of
 * timeouts. */
#include "check.h"

#define REFUSES_NULL(call) CHECK_STATUS(call, SHOAL_NULL_POINTER)

static const shoal_job_id job = {{1, 2, 3}};
static const shoal_worker_id worker = {{4}};
static shoal_address address;
static shoal_secret secret;

static void names(void) {
  shoal_job_id id;
  CHECK(shoal_reason_name(255) != NULL && shoal_bucket_name(255) != NULL);
  CHECK(shoal_exclusion_name(255) != NULL && shoal_timeout_reason_name(255) != NULL);
  CHECK(strcmp(shoal_outcome_name(255), "unknown") == 0);
  REFUSES_NULL(shoal_job_id_from_name(NULL, 3, &id));
  REFUSES_NULL(shoal_job_id_from_name((const uint8_t *)"abc", 3, NULL));
  CHECK_STATUS(shoal_job_id_from_name((const uint8_t *)"abc", SIZE_MAX, &id),
               SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(shoal_job_id_from_name((const uint8_t *)"abc", 3, &id), SHOAL_OK);
  CHECK(id.bytes[0] == 0xba && id.bytes[15] == 0x23);
}

static void settings(void) {
  shoal_router_config routing;
  shoal_timeouts_config timing;
  REFUSES_NULL((shoal_router_config_init)(NULL));
  REFUSES_NULL((shoal_timeouts_config_init)(NULL));
  CHECK_STATUS((shoal_router_config_init)(&routing), SHOAL_OK);
  CHECK_STATUS((shoal_timeouts_config_init)(&timing), SHOAL_OK);
  REFUSES_NULL(shoal_router_config_init_sized(NULL, sizeof routing));
  REFUSES_NULL(shoal_timeouts_config_init_sized(NULL, sizeof timing));
  for (size_t size = 0; size < 3; size++) {
    const size_t wrong[] = {0, sizeof routing - 1, SIZE_MAX};
    CHECK_STATUS(shoal_router_config_init_sized(&routing, wrong[size]), SHOAL_INVALID_STRUCT_SIZE);
    CHECK_STATUS(shoal_timeouts_config_init_sized(&timing, wrong[size]), SHOAL_INVALID_STRUCT_SIZE);
  }
}

static void engines(void) {
  shoal_config config = test_config(&secret);
  shoal_engine *engine = NULL;
  shoal_job_start start;
  shoal_job_snapshot snapshot;
  shoal_extension_request request;
  shoal_extension_grant grant;
  shoal_datacenter_target target;
  uint8_t standing = 99;
  memset(&start, 0, sizeof start);
  memset(&snapshot, 0, sizeof snapshot);
  memset(&request, 0, sizeof request);
  memset(&target, 0, sizeof target);
  strcpy(target.datacenter, "east");
  config.advertise = address;
  CHECK_STATUS(shoal_engine_new(&config, 1, 1, &engine, NULL, 0), SHOAL_OK);
  REFUSES_NULL(shoal_engine_job_started(NULL, 1, &start));
  REFUSES_NULL(shoal_engine_job_started(engine, 1, NULL));
  CHECK_STATUS(shoal_engine_job_started(engine, 1, &start), SHOAL_INVALID_TIMEOUT);
  start.timeout_ms = UINT64_MAX;
  CHECK_STATUS(shoal_engine_job_started(engine, 1, &start), SHOAL_INVALID_TIMEOUT);
  REFUSES_NULL(shoal_engine_job_progress(NULL, 1, &job, NULL));
  REFUSES_NULL(shoal_engine_job_progress(engine, 1, NULL, NULL));
  CHECK_STATUS(shoal_engine_job_progress(engine, 1, &job, NULL), SHOAL_NONE);
  REFUSES_NULL(shoal_engine_job_finished(NULL, 1, &job, 1));
  REFUSES_NULL(shoal_engine_job_finished(engine, 1, NULL, 1));
  CHECK_STATUS(shoal_engine_job_finished(engine, 1, &job, 0), SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(shoal_engine_job_finished(engine, 1, &job, 1), SHOAL_NONE);
  REFUSES_NULL(shoal_engine_worker_extension(NULL, 1, &job, &worker, &request, &grant));
  REFUSES_NULL(shoal_engine_worker_extension(engine, 1, NULL, &worker, &request, &grant));
  REFUSES_NULL(shoal_engine_worker_extension(engine, 1, &job, NULL, &request, &grant));
  REFUSES_NULL(shoal_engine_worker_extension(engine, 1, &job, &worker, NULL, &grant));
  REFUSES_NULL(shoal_engine_worker_extension(engine, 1, &job, &worker, &request, NULL));
  CHECK_STATUS(shoal_engine_worker_extension(engine, 1, &job, &worker, &request, &grant),
               SHOAL_NONE);
  REFUSES_NULL(shoal_engine_job_snapshot(NULL, 1, &job, &snapshot));
  REFUSES_NULL(shoal_engine_job_snapshot(engine, 1, NULL, &snapshot));
  REFUSES_NULL(shoal_engine_job_snapshot(engine, 1, &job, NULL));
  CHECK_STATUS(shoal_engine_job_snapshot(engine, 1, &job, &snapshot), SHOAL_NONE);
  REFUSES_NULL(shoal_engine_job_resumed(NULL, 1, &snapshot, 0, 0));
  REFUSES_NULL(shoal_engine_job_resumed(engine, 1, NULL, 0, 0));
  CHECK_STATUS(shoal_engine_job_resumed(engine, 1, &snapshot, UINT64_MAX, 0),
               SHOAL_INVALID_TIMEOUT);
  REFUSES_NULL(shoal_engine_job_lost(NULL, 1, &job));
  REFUSES_NULL(shoal_engine_job_lost(engine, 1, NULL));
  shoal_address gate = test_address("10.0.0.9:1");
  REFUSES_NULL(shoal_engine_gate_changed(NULL, 1, &gate, &gate));
  REFUSES_NULL(shoal_engine_gate_changed(engine, 1, NULL, &gate));
  REFUSES_NULL(shoal_engine_gate_changed(engine, 1, &gate, NULL));
  REFUSES_NULL(shoal_engine_gate_job_released(NULL, 1, &job));
  REFUSES_NULL(shoal_engine_gate_job_released(engine, 1, NULL));
  REFUSES_NULL(shoal_engine_gate_job_started(NULL, 1, &job, 1000, &target, 1));
  REFUSES_NULL(shoal_engine_gate_job_started(engine, 1, NULL, 1000, &target, 1));
  REFUSES_NULL(shoal_engine_gate_job_started(engine, 1, &job, 1000, NULL, 1));
  CHECK_STATUS(shoal_engine_gate_job_started(engine, 1, &job, 1000, &target, 0),
               SHOAL_INVALID_DATACENTER_COUNT);
  CHECK_STATUS(shoal_engine_gate_job_started(engine, 1, &job, 1000, &target, SIZE_MAX),
               SHOAL_INVALID_DATACENTER_COUNT);
  CHECK_STATUS(shoal_engine_gate_job_started(engine, 1, &job, 1000, &target, 1), SHOAL_WRONG_ROLE);
  REFUSES_NULL(shoal_engine_accuse_for_job(NULL, 1, &job, &address, &address));
  REFUSES_NULL(shoal_engine_accuse_for_job(engine, 1, NULL, &address, &address));
  REFUSES_NULL(shoal_engine_accuse_for_job(engine, 1, &job, NULL, &address));
  REFUSES_NULL(shoal_engine_accuse_for_job(engine, 1, &job, &address, NULL));
  REFUSES_NULL(shoal_engine_vouch_for_job(NULL, &job, &address));
  REFUSES_NULL(shoal_engine_vouch_for_job(engine, NULL, &address));
  REFUSES_NULL(shoal_engine_vouch_for_job(engine, &job, NULL));
  REFUSES_NULL(shoal_engine_forget_job(NULL, &job));
  REFUSES_NULL(shoal_engine_forget_job(engine, NULL));
  REFUSES_NULL(shoal_engine_job_standing(NULL, &job, &address, &standing));
  REFUSES_NULL(shoal_engine_job_standing(engine, NULL, &address, &standing));
  REFUSES_NULL(shoal_engine_job_standing(engine, &job, NULL, &standing));
  REFUSES_NULL(shoal_engine_job_standing(engine, &job, &address, NULL));
  CHECK_STATUS(shoal_engine_job_standing(engine, &job, &address, &standing), SHOAL_OK);
  CHECK(standing == SHOAL_STANDING_ALIVE);
  shoal_engine_free(engine);
}

static void nodes(void) {
  shoal_config config = test_config(&secret);
  shoal_node *node = NULL;
  shoal_job_start start;
  shoal_job_snapshot snapshot;
  shoal_extension_request request;
  shoal_extension_grant grant;
  shoal_datacenter_target target;
  memset(&start, 0, sizeof start);
  memset(&snapshot, 0, sizeof snapshot);
  memset(&request, 0, sizeof request);
  memset(&target, 0, sizeof target);
  config.bind = test_address("127.0.0.1:0");
  CHECK_STATUS(shoal_node_start(&config, &node, NULL, 0), SHOAL_OK);
  REFUSES_NULL(shoal_node_job_started(NULL, &start));
  REFUSES_NULL(shoal_node_job_started(node, NULL));
  CHECK_STATUS(shoal_node_job_started(node, &start), SHOAL_INVALID_TIMEOUT);
  REFUSES_NULL(shoal_node_job_progress(NULL, &job, NULL));
  REFUSES_NULL(shoal_node_job_progress(node, NULL, NULL));
  CHECK_STATUS(shoal_node_job_progress(node, &job, NULL), SHOAL_NONE);
  REFUSES_NULL(shoal_node_job_finished(NULL, &job, 1));
  REFUSES_NULL(shoal_node_job_finished(node, NULL, 1));
  CHECK_STATUS(shoal_node_job_finished(node, &job, 77), SHOAL_INVALID_ARGUMENT);
  REFUSES_NULL(shoal_node_worker_extension(NULL, &job, &worker, &request, &grant));
  REFUSES_NULL(shoal_node_worker_extension(node, NULL, &worker, &request, &grant));
  REFUSES_NULL(shoal_node_worker_extension(node, &job, NULL, &request, &grant));
  REFUSES_NULL(shoal_node_worker_extension(node, &job, &worker, NULL, &grant));
  REFUSES_NULL(shoal_node_worker_extension(node, &job, &worker, &request, NULL));
  REFUSES_NULL(shoal_node_job_snapshot(NULL, &job, &snapshot));
  REFUSES_NULL(shoal_node_job_snapshot(node, NULL, &snapshot));
  REFUSES_NULL(shoal_node_job_snapshot(node, &job, NULL));
  REFUSES_NULL(shoal_node_job_resumed(NULL, &snapshot, 0, 0));
  REFUSES_NULL(shoal_node_job_resumed(node, NULL, 0, 0));
  REFUSES_NULL(shoal_node_job_lost(NULL, &job));
  REFUSES_NULL(shoal_node_job_lost(node, NULL));
  CHECK_STATUS(shoal_node_job_lost(node, &job), SHOAL_NONE);
  shoal_address gate = test_address("10.0.0.9:1");
  REFUSES_NULL(shoal_node_gate_changed(NULL, &gate, &gate));
  REFUSES_NULL(shoal_node_gate_changed(node, NULL, &gate));
  REFUSES_NULL(shoal_node_gate_changed(node, &gate, NULL));
  CHECK_STATUS(shoal_node_gate_changed(node, &gate, &gate), SHOAL_NONE);
  REFUSES_NULL(shoal_node_gate_job_released(NULL, &job));
  REFUSES_NULL(shoal_node_gate_job_released(node, NULL));
  REFUSES_NULL(shoal_node_gate_job_started(NULL, &job, 1000, &target, 1));
  REFUSES_NULL(shoal_node_gate_job_started(node, NULL, 1000, &target, 1));
  REFUSES_NULL(shoal_node_gate_job_started(node, &job, 1000, NULL, 1));
  CHECK_STATUS(shoal_node_gate_job_started(node, &job, 1000, &target, 1), SHOAL_INVALID_SETTING);
  shoal_node_free(node);
}

static void routers(void) {
  shoal_router_config config;
  shoal_router *router = NULL;
  shoal_candidate candidate;
  shoal_manager_candidate manager;
  shoal_decision decision;
  shoal_ranked ranked;
  shoal_excluded excluded;
  shoal_counter counter;
  uint32_t preferred = 0;
  size_t count;
  char text[SHOAL_DETAIL_SIZE];
  double latency_ms;
  CHECK_STATUS(shoal_router_config_init(&config), SHOAL_OK);
  memset(&manager, 0, sizeof manager);
  REFUSES_NULL(shoal_candidate_init(NULL, 0, 1));
  CHECK_STATUS(shoal_candidate_init(&candidate, SHOAL_DATACENTER_COUNT_MAX, 1),
               SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(shoal_candidate_init(&candidate, 0, 1), SHOAL_OK);
  REFUSES_NULL(shoal_router_new(NULL, 1, &router, NULL, 0));
  REFUSES_NULL(shoal_router_new(&config, 1, NULL, NULL, 0));
  config.hold_down_ms = UINT64_MAX;
  CHECK_STATUS(shoal_router_new(&config, 1, &router, text, sizeof text), SHOAL_INVALID_SETTING);
  CHECK(strstr(text, "hold_down_ms") != NULL);
  CHECK_STATUS(shoal_router_config_init(&config), SHOAL_OK);
  CHECK_STATUS(shoal_router_new(&config, 1, &router, NULL, 0), SHOAL_OK);
  shoal_router_free(NULL);
  REFUSES_NULL(shoal_router_error(NULL, text, sizeof text));
  REFUSES_NULL(shoal_router_error(router, NULL, sizeof text));
  REFUSES_NULL(shoal_router_use_measured_rtts(NULL));
  REFUSES_NULL(shoal_router_use_predicted_rtts(NULL, 1, 0.1));
  REFUSES_NULL(shoal_router_route(NULL, 1, &job, &candidate, 1, &preferred, 1, &decision));
  REFUSES_NULL(shoal_router_route(router, 1, NULL, &candidate, 1, &preferred, 1, &decision));
  REFUSES_NULL(shoal_router_route(router, 1, &job, NULL, 1, &preferred, 1, &decision));
  REFUSES_NULL(shoal_router_route(router, 1, &job, &candidate, 1, NULL, 1, &decision));
  REFUSES_NULL(shoal_router_route(router, 1, &job, &candidate, 1, &preferred, 1, NULL));
  CHECK_STATUS(shoal_router_route(router, 1, &job, NULL, 0, NULL, 0, &decision), SHOAL_NONE);
  CHECK_STATUS(shoal_router_route(router, 1, &job, &candidate, SIZE_MAX, NULL, 0, &decision),
               SHOAL_TOO_MANY_CANDIDATES);
  CHECK_STATUS(shoal_router_route(router, 1, &job, &candidate, 1, &preferred, SIZE_MAX, &decision),
               SHOAL_TOO_MANY_CANDIDATES);
  REFUSES_NULL(shoal_router_chain(NULL, &ranked, 1, &count));
  REFUSES_NULL(shoal_router_chain(router, NULL, 1, &count));
  REFUSES_NULL(shoal_router_chain(router, &ranked, 1, NULL));
  REFUSES_NULL(shoal_router_excluded(NULL, &excluded, 1, &count));
  REFUSES_NULL(shoal_router_excluded(router, NULL, 1, &count));
  REFUSES_NULL(shoal_router_excluded(router, &excluded, 1, NULL));
  REFUSES_NULL(shoal_router_choose_manager(NULL, 1, &job, 0, &manager, 1, &address, 1, &count));
  REFUSES_NULL(shoal_router_choose_manager(router, 1, NULL, 0, &manager, 1, &address, 1, &count));
  REFUSES_NULL(shoal_router_choose_manager(router, 1, &job, 0, NULL, 1, &address, 1, &count));
  REFUSES_NULL(shoal_router_choose_manager(router, 1, &job, 0, &manager, 1, NULL, 1, &count));
  REFUSES_NULL(shoal_router_choose_manager(router, 1, &job, 0, &manager, 1, &address, 1, NULL));
  CHECK_STATUS(
      shoal_router_choose_manager(router, 1, &job, UINT32_MAX, &manager, 1, NULL, 0, &count),
      SHOAL_INVALID_ARGUMENT);
  REFUSES_NULL(shoal_router_record_dispatch(NULL, 1, &job, 0));
  REFUSES_NULL(shoal_router_record_dispatch(router, 1, NULL, 0));
  CHECK_STATUS(shoal_router_record_dispatch(router, 1, &job, UINT32_MAX), SHOAL_INVALID_ARGUMENT);
  REFUSES_NULL(shoal_router_record_accepted(NULL, 1, &job, 0, &address));
  REFUSES_NULL(shoal_router_record_accepted(router, 1, NULL, 0, &address));
  REFUSES_NULL(shoal_router_record_accepted(router, 1, &job, 0, NULL));
  REFUSES_NULL(shoal_router_record_completion(NULL, 1, &job, 0, 1, &latency_ms));
  REFUSES_NULL(shoal_router_record_completion(router, 1, NULL, 0, 1, &latency_ms));
  CHECK_STATUS(shoal_router_record_completion(router, 1, &job, 0, 1, NULL), SHOAL_NONE);
  REFUSES_NULL(shoal_router_record_failure(NULL, 1, &job, 0));
  REFUSES_NULL(shoal_router_record_failure(router, 1, NULL, 0));
  REFUSES_NULL(shoal_router_forget_job(NULL, &job));
  REFUSES_NULL(shoal_router_forget_job(router, NULL));
  REFUSES_NULL(shoal_router_stats(NULL, &counter, 1, &count));
  REFUSES_NULL(shoal_router_stats(router, NULL, 1, &count));
  REFUSES_NULL(shoal_router_stats(router, &counter, 1, NULL));
  shoal_router_free(router);
}

static void managers(const shoal_timeouts_config *config) {
  shoal_timeouts *timeouts = NULL;
  shoal_job_start start;
  shoal_job_snapshot snapshot;
  shoal_extension_request request;
  shoal_extension_grant grant;
  shoal_transmit transmit;
  shoal_event event;
  shoal_counter counter;
  uint8_t message[SHOAL_MESSAGE_SIZE_MAX] = {0};
  char text[SHOAL_DETAIL_SIZE];
  uint64_t deadline;
  size_t count;
  memset(&start, 0, sizeof start);
  memset(&snapshot, 0, sizeof snapshot);
  memset(&request, 0, sizeof request);
  REFUSES_NULL(shoal_timeouts_new(NULL, 1, 1, &timeouts, NULL, 0));
  REFUSES_NULL(shoal_timeouts_new(config, 1, 1, NULL, NULL, 0));
  CHECK_STATUS(shoal_timeouts_new(config, 1, 1, &timeouts, NULL, 0), SHOAL_OK);
  shoal_timeouts_free(NULL);
  REFUSES_NULL(shoal_timeouts_error(NULL, text, sizeof text));
  REFUSES_NULL(shoal_timeouts_error(timeouts, NULL, sizeof text));
  REFUSES_NULL(shoal_timeouts_job_started(NULL, 1, &start));
  REFUSES_NULL(shoal_timeouts_job_started(timeouts, 1, NULL));
  REFUSES_NULL(shoal_timeouts_job_progress(NULL, 1, &job, NULL));
  REFUSES_NULL(shoal_timeouts_job_progress(timeouts, 1, NULL, NULL));
  REFUSES_NULL(shoal_timeouts_job_finished(NULL, 1, &job, 1));
  REFUSES_NULL(shoal_timeouts_job_finished(timeouts, 1, NULL, 1));
  REFUSES_NULL(shoal_timeouts_worker_extension(NULL, 1, &job, &worker, &request, &grant));
  REFUSES_NULL(shoal_timeouts_worker_extension(timeouts, 1, NULL, &worker, &request, &grant));
  REFUSES_NULL(shoal_timeouts_worker_extension(timeouts, 1, &job, NULL, &request, &grant));
  REFUSES_NULL(shoal_timeouts_worker_extension(timeouts, 1, &job, &worker, NULL, &grant));
  REFUSES_NULL(shoal_timeouts_worker_extension(timeouts, 1, &job, &worker, &request, NULL));
  REFUSES_NULL(shoal_timeouts_worker_removed(NULL, 1, &job, &worker));
  REFUSES_NULL(shoal_timeouts_worker_removed(timeouts, 1, NULL, &worker));
  REFUSES_NULL(shoal_timeouts_worker_removed(timeouts, 1, &job, NULL));
  REFUSES_NULL(shoal_timeouts_job_snapshot(NULL, 1, &job, &snapshot));
  REFUSES_NULL(shoal_timeouts_job_snapshot(timeouts, 1, NULL, &snapshot));
  REFUSES_NULL(shoal_timeouts_job_snapshot(timeouts, 1, &job, NULL));
  REFUSES_NULL(shoal_timeouts_job_resumed(NULL, 1, &snapshot, 0, 0));
  REFUSES_NULL(shoal_timeouts_job_resumed(timeouts, 1, NULL, 0, 0));
  REFUSES_NULL(shoal_timeouts_job_lost(NULL, 1, &job));
  REFUSES_NULL(shoal_timeouts_job_lost(timeouts, 1, NULL));
  REFUSES_NULL(shoal_timeouts_gate_changed(NULL, &address, &address));
  REFUSES_NULL(shoal_timeouts_gate_changed(timeouts, NULL, &address));
  REFUSES_NULL(shoal_timeouts_gate_changed(timeouts, &address, NULL));
  REFUSES_NULL(shoal_timeouts_deadline_ns(NULL, &job, &deadline));
  REFUSES_NULL(shoal_timeouts_deadline_ns(timeouts, NULL, &deadline));
  REFUSES_NULL(shoal_timeouts_deadline_ns(timeouts, &job, NULL));
  REFUSES_NULL(shoal_timeouts_handle_message(NULL, 1, &address, message, sizeof message));
  REFUSES_NULL(shoal_timeouts_handle_message(timeouts, 1, NULL, message, sizeof message));
  REFUSES_NULL(shoal_timeouts_handle_message(timeouts, 1, &address, NULL, sizeof message));
  CHECK_STATUS(shoal_timeouts_handle_message(timeouts, 1, &address, message, 0),
               SHOAL_INVALID_MESSAGE);
  CHECK_STATUS(shoal_timeouts_handle_message(timeouts, 1, &address, message, SIZE_MAX),
               SHOAL_INVALID_MESSAGE);
  REFUSES_NULL(shoal_timeouts_handle_timeout(NULL, 1));
  REFUSES_NULL(shoal_timeouts_timeout_ns(NULL, &deadline));
  REFUSES_NULL(shoal_timeouts_timeout_ns(timeouts, NULL));
  CHECK_STATUS(shoal_timeouts_timeout_ns(timeouts, &deadline), SHOAL_NONE);
  REFUSES_NULL(shoal_timeouts_poll_message(NULL, 1, message, sizeof message, &transmit));
  REFUSES_NULL(shoal_timeouts_poll_message(timeouts, 1, NULL, sizeof message, &transmit));
  REFUSES_NULL(shoal_timeouts_poll_message(timeouts, 1, message, sizeof message, NULL));
  CHECK_STATUS(shoal_timeouts_poll_message(timeouts, 1, message, 0, &transmit),
               SHOAL_BUFFER_TOO_SMALL);
  REFUSES_NULL(shoal_timeouts_poll_event(NULL, &event));
  REFUSES_NULL(shoal_timeouts_poll_event(timeouts, NULL));
  REFUSES_NULL(shoal_timeouts_stats(NULL, &counter, 1, &count));
  REFUSES_NULL(shoal_timeouts_stats(timeouts, NULL, 1, &count));
  REFUSES_NULL(shoal_timeouts_stats(timeouts, &counter, 1, NULL));
  shoal_timeouts_free(timeouts);
}

static void gates(const shoal_timeouts_config *config) {
  shoal_gate_timeouts *timeouts = NULL;
  shoal_datacenter_target target;
  shoal_job_status status;
  shoal_transmit transmit;
  shoal_event event;
  shoal_counter counter;
  uint8_t message[SHOAL_MESSAGE_SIZE_MAX] = {0};
  char text[SHOAL_DETAIL_SIZE];
  uint64_t deadline;
  size_t count;
  memset(&target, 0, sizeof target);
  REFUSES_NULL(shoal_gate_timeouts_new(NULL, 1, 1, &timeouts, NULL, 0));
  REFUSES_NULL(shoal_gate_timeouts_new(config, 1, 1, NULL, NULL, 0));
  CHECK_STATUS(shoal_gate_timeouts_new(config, 1, 1, &timeouts, NULL, 0), SHOAL_OK);
  shoal_gate_timeouts_free(NULL);
  REFUSES_NULL(shoal_gate_timeouts_error(NULL, text, sizeof text));
  REFUSES_NULL(shoal_gate_timeouts_error(timeouts, NULL, sizeof text));
  REFUSES_NULL(shoal_gate_timeouts_job_started(NULL, 1, &job, 1000, &target, 1));
  REFUSES_NULL(shoal_gate_timeouts_job_started(timeouts, 1, NULL, 1000, &target, 1));
  REFUSES_NULL(shoal_gate_timeouts_job_started(timeouts, 1, &job, 1000, NULL, 1));
  CHECK_STATUS(shoal_gate_timeouts_job_started(timeouts, 1, &job, 1000, &target, SIZE_MAX),
               SHOAL_INVALID_DATACENTER_COUNT);
  REFUSES_NULL(shoal_gate_timeouts_job_finished(NULL, 1, &job));
  REFUSES_NULL(shoal_gate_timeouts_job_finished(timeouts, 1, NULL));
  REFUSES_NULL(shoal_gate_timeouts_status(NULL, &job, "east", &status));
  REFUSES_NULL(shoal_gate_timeouts_status(timeouts, NULL, "east", &status));
  REFUSES_NULL(shoal_gate_timeouts_status(timeouts, &job, NULL, &status));
  REFUSES_NULL(shoal_gate_timeouts_status(timeouts, &job, "east", NULL));
  CHECK_STATUS(shoal_gate_timeouts_status(timeouts, &job, "", &status), SHOAL_INVALID_SETTING);
  CHECK_STATUS(shoal_gate_timeouts_status(timeouts, &job, "east", &status), SHOAL_NONE);
  REFUSES_NULL(
      shoal_gate_timeouts_handle_message(NULL, 1, &address, "east", message, sizeof message));
  REFUSES_NULL(
      shoal_gate_timeouts_handle_message(timeouts, 1, NULL, "east", message, sizeof message));
  REFUSES_NULL(
      shoal_gate_timeouts_handle_message(timeouts, 1, &address, NULL, message, sizeof message));
  REFUSES_NULL(
      shoal_gate_timeouts_handle_message(timeouts, 1, &address, "east", NULL, sizeof message));
  CHECK_STATUS(shoal_gate_timeouts_handle_message(timeouts, 1, &address, "east", message, SIZE_MAX),
               SHOAL_INVALID_MESSAGE);
  REFUSES_NULL(shoal_gate_timeouts_handle_timeout(NULL, 1));
  REFUSES_NULL(shoal_gate_timeouts_timeout_ns(NULL, &deadline));
  REFUSES_NULL(shoal_gate_timeouts_timeout_ns(timeouts, NULL));
  REFUSES_NULL(shoal_gate_timeouts_poll_message(NULL, 1, message, sizeof message, &transmit));
  REFUSES_NULL(shoal_gate_timeouts_poll_message(timeouts, 1, NULL, sizeof message, &transmit));
  REFUSES_NULL(shoal_gate_timeouts_poll_message(timeouts, 1, message, sizeof message, NULL));
  REFUSES_NULL(shoal_gate_timeouts_poll_event(NULL, &event));
  REFUSES_NULL(shoal_gate_timeouts_poll_event(timeouts, NULL));
  REFUSES_NULL(shoal_gate_timeouts_stats(NULL, &counter, 1, &count));
  REFUSES_NULL(shoal_gate_timeouts_stats(timeouts, NULL, 1, &count));
  REFUSES_NULL(shoal_gate_timeouts_stats(timeouts, &counter, 1, NULL));
  shoal_gate_timeouts_free(timeouts);
}

int main(void) {
  shoal_timeouts_config config;
  secret = test_secret();
  address = test_address("127.0.0.1:9000");
  CHECK_STATUS(shoal_timeouts_config_init(&config), SHOAL_OK);
  names();
  settings();
  engines();
  nodes();
  routers();
  managers(&config);
  gates(&config);
  return 0;
}
