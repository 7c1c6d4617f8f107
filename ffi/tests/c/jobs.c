/* Timeouts of jobs: a manager and a gate that exchange messages in memory, extensions, a change of
 * leaders, and the same over two nodes on loopback. */
#include "check.h"

#include <poll.h>

static const uint64_t SECOND = 1000000000;

static shoal_address gate_address, manager_address;
static shoal_timeouts *manager;
static shoal_gate_timeouts *gate;

/* Carries messages both ways until there are none. */
static void exchange(uint64_t now) {
  uint8_t message[SHOAL_MESSAGE_SIZE_MAX];
  shoal_transmit transmit;
  int is_quiet = 0;
  while (!is_quiet) {
    is_quiet = 1;
    while (shoal_timeouts_poll_message(manager, now, message, sizeof message, &transmit) ==
           SHOAL_OK) {
      CHECK(memcmp(&transmit.target, &gate_address, sizeof gate_address) == 0);
      CHECK_STATUS(shoal_gate_timeouts_handle_message(gate, now, &manager_address, "east", message,
                                                      transmit.size),
                   SHOAL_OK);
      is_quiet = 0;
    }
    while (shoal_gate_timeouts_poll_message(gate, now, message, sizeof message, &transmit) ==
           SHOAL_OK) {
      CHECK(memcmp(&transmit.target, &manager_address, sizeof manager_address) == 0);
      CHECK_STATUS(
          shoal_timeouts_handle_message(manager, now, &gate_address, message, transmit.size),
          SHOAL_OK);
      is_quiet = 0;
    }
  }
}

static shoal_job_start job_start(const char *name, uint64_t timeout_ms) {
  shoal_job_start start;
  memset(&start, 0, sizeof start);
  CHECK_STATUS(shoal_job_id_from_name((const uint8_t *)name, strlen(name), &start.job), SHOAL_OK);
  start.timeout_ms = timeout_ms;
  return start;
}

static void a_gate_times_a_job_out(void) {
  uint64_t now = 10 * SECOND, deadline = 0;
  shoal_job_start start = job_start("nightly", 60000);
  shoal_datacenter_target target;
  shoal_job_status status;
  shoal_event event;
  shoal_workflow_counts workflows = {10, 4, 1};
  memset(&target, 0, sizeof target);
  strcpy(target.datacenter, "east");
  target.leader = manager_address;
  start.gate = gate_address;
  CHECK_STATUS(shoal_gate_timeouts_job_started(gate, now, &start.job, 60000, &target, 1), SHOAL_OK);
  CHECK_STATUS(shoal_gate_timeouts_job_started(gate, now, &start.job, 60000, &target, 1),
               SHOAL_NONE);
  CHECK_STATUS(shoal_timeouts_job_started(manager, now, &start), SHOAL_OK);
  CHECK_STATUS(shoal_timeouts_job_started(manager, now, &start), SHOAL_NONE);
  CHECK_STATUS(shoal_timeouts_job_progress(manager, now, &start.job, &workflows), SHOAL_OK);
  CHECK_STATUS(shoal_timeouts_deadline_ns(manager, &start.job, &deadline), SHOAL_OK);
  CHECK(deadline == now + 60 * SECOND);
  exchange(now);
  CHECK_STATUS(shoal_gate_timeouts_status(gate, &start.job, "east", &status), SHOAL_OK);
  CHECK(status.state == SHOAL_JOB_RUNNING);

  now = deadline;
  CHECK_STATUS(shoal_timeouts_handle_timeout(manager, now), SHOAL_OK);
  exchange(now);
  CHECK_STATUS(shoal_gate_timeouts_poll_event(gate, &event), SHOAL_OK);
  CHECK(event.kind == SHOAL_EVENT_JOB_GLOBAL_TIMEOUT && event.lasted_ns == 60 * SECOND);
  CHECK(event.reason == SHOAL_TIMEOUT_DATACENTERS_TIMED_OUT);
  CHECK(memcmp(&event.job, &start.job, sizeof event.job) == 0);
  exchange(now);
  CHECK_STATUS(shoal_timeouts_poll_event(manager, &event), SHOAL_OK);
  CHECK(event.kind == SHOAL_EVENT_JOB_TIMED_OUT && event.fence == 1);
  CHECK_STATUS(shoal_timeouts_poll_event(manager, &event), SHOAL_NONE);
  CHECK_STATUS(shoal_timeouts_job_progress(manager, now, &start.job, NULL), SHOAL_NONE);
}

static void a_manager_alone_decides(void) {
  uint64_t now = 200 * SECOND, deadline = 0;
  shoal_job_start start = job_start("local", 30000);
  shoal_extension_request request;
  shoal_extension_grant grant;
  shoal_worker_id worker = {{7}};
  shoal_event event;
  memset(&request, 0, sizeof request);
  CHECK_STATUS(shoal_timeouts_job_started(manager, now, &start), SHOAL_OK);
  request.progress = 0.3;
  CHECK_STATUS(shoal_timeouts_worker_extension(manager, now, &start.job, &worker, &request, &grant),
               SHOAL_OK);
  CHECK(grant.duration_ns == 15 * SECOND && grant.total_ns == grant.duration_ns &&
        grant.remaining == 4);
  CHECK_STATUS(shoal_timeouts_worker_extension(manager, now, &start.job, &worker, &request, &grant),
               SHOAL_EXTENSION_WITHOUT_PROGRESS);
  request.progress = 0.6;
  request.is_suspect = 1;
  CHECK_STATUS(shoal_timeouts_worker_extension(manager, now, &start.job, &worker, &request, &grant),
               SHOAL_EXTENSION_FOR_SUSPECT);
  CHECK_STATUS(shoal_timeouts_worker_removed(manager, now, &start.job, &worker), SHOAL_OK);
  CHECK_STATUS(shoal_timeouts_worker_removed(manager, now, &start.job, &worker), SHOAL_NONE);
  CHECK_STATUS(shoal_timeouts_timeout_ns(manager, &deadline), SHOAL_OK);
  CHECK_STATUS(shoal_timeouts_handle_timeout(manager, now + 44 * SECOND), SHOAL_OK);
  CHECK_STATUS(shoal_timeouts_poll_event(manager, &event), SHOAL_NONE);
  CHECK_STATUS(shoal_timeouts_handle_timeout(manager, now + 45 * SECOND), SHOAL_OK);
  CHECK_STATUS(shoal_timeouts_poll_event(manager, &event), SHOAL_OK);
  CHECK(event.kind == SHOAL_EVENT_JOB_TIMED_OUT && event.reason == SHOAL_TIMEOUT_DEADLINE);
}

static void a_job_survives_its_leader(void) {
  uint64_t now = 300 * SECOND, deadline = 0;
  shoal_job_start start = job_start("moving", 100000);
  shoal_job_snapshot snapshot;
  CHECK_STATUS(shoal_timeouts_job_started(manager, now, &start), SHOAL_OK);
  now += 40 * SECOND;
  CHECK_STATUS(shoal_timeouts_job_snapshot(manager, now, &start.job, &snapshot), SHOAL_OK);
  CHECK(snapshot.elapsed_ns == 40 * SECOND && snapshot.fence == 1);
  CHECK_STATUS(shoal_timeouts_job_lost(manager, now, &start.job), SHOAL_OK);
  CHECK_STATUS(shoal_timeouts_job_snapshot(manager, now, &start.job, &snapshot), SHOAL_NONE);
  CHECK_STATUS(shoal_timeouts_job_resumed(manager, now + 10 * SECOND, &snapshot, 10 * SECOND, 5),
               SHOAL_OK);
  CHECK_STATUS(shoal_timeouts_deadline_ns(manager, &start.job, &deadline), SHOAL_OK);
  CHECK(deadline == 400 * SECOND);
  CHECK_STATUS(shoal_timeouts_job_snapshot(manager, now + 10 * SECOND, &start.job, &snapshot),
               SHOAL_OK);
  CHECK(snapshot.fence == 5);
  CHECK_STATUS(
      shoal_timeouts_job_finished(manager, now + 11 * SECOND, &start.job, SHOAL_OUTCOME_COMPLETED),
      SHOAL_OK);
  CHECK_STATUS(
      shoal_timeouts_job_finished(manager, now + 11 * SECOND, &start.job, SHOAL_OUTCOME_COMPLETED),
      SHOAL_NONE);
}

static void events_are_counted(void) {
  shoal_counter stats[32];
  size_t count = 0;
  CHECK_STATUS(shoal_timeouts_stats(manager, stats, 32, &count), SHOAL_OK);
  CHECK(count > 10 && strcmp(stats[0].name, "jobs") == 0 && stats[0].value == 0);
  CHECK(strcmp(stats[1].name, "started") == 0 && stats[1].value == 3);
  CHECK_STATUS(shoal_gate_timeouts_stats(gate, stats, 32, &count), SHOAL_OK);
  CHECK(strcmp(stats[3].name, "timed_out") == 0 && stats[3].value == 1);
}

static shoal_node *start_node(const char *datacenter, uint32_t role, shoal_address *address) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  shoal_timeouts_config timing;
  shoal_node *node = NULL;
  CHECK_STATUS(shoal_timeouts_config_init(&timing), SHOAL_OK);
  timing.gate_deadline_grace_ms = 0;
  config.bind = test_address("127.0.0.1:0");
  config.role = role;
  config.jobs = &timing;
  strcpy(config.datacenter, datacenter);
  CHECK_STATUS(shoal_node_start(&config, &node, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_node_address(node, address), SHOAL_OK);
  return node;
}

static void wait_for(const shoal_node *node, uint32_t kind) {
  struct pollfd descriptor = {shoal_node_event_fd(node), POLLIN, 0};
  for (int round = 0; round < 200; round++) {
    shoal_event event;
    while (shoal_node_poll_event(node, &event) == SHOAL_OK) {
      if (event.kind == kind) return;
    }
    CHECK(poll(&descriptor, 1, 100) >= 0);
  }
  fprintf(stderr, "event %u did not come\n", (unsigned)kind);
  exit(1);
}

static void nodes_carry_the_messages(void) {
  shoal_address gate_at, manager_at;
  shoal_node *gate_node = start_node("hub", SHOAL_ROLE_GATE, &gate_at);
  shoal_node *manager_node = start_node("east", SHOAL_ROLE_MANAGER, &manager_at);
  shoal_job_start start = job_start("short", 500);
  shoal_datacenter_target target;
  shoal_job_snapshot snapshot;
  memset(&target, 0, sizeof target);
  strcpy(target.datacenter, "east");
  target.leader = manager_at;
  start.gate = gate_at;
  CHECK_STATUS(shoal_node_join(manager_node, &gate_at, 1), SHOAL_OK);
  wait_for(manager_node, SHOAL_EVENT_JOINED);
  CHECK_STATUS(shoal_node_job_started(gate_node, &start), SHOAL_WRONG_ROLE);
  CHECK_STATUS(shoal_node_gate_job_started(gate_node, &start.job, 500, &target, 1), SHOAL_OK);
  CHECK_STATUS(shoal_node_job_started(manager_node, &start), SHOAL_OK);
  CHECK_STATUS(shoal_node_job_snapshot(manager_node, &start.job, &snapshot), SHOAL_OK);
  CHECK(snapshot.timeout_ns == SECOND / 2);
  wait_for(gate_node, SHOAL_EVENT_JOB_GLOBAL_TIMEOUT);
  wait_for(manager_node, SHOAL_EVENT_JOB_TIMED_OUT);
  shoal_node_free(gate_node);
  shoal_node_free(manager_node);
}

int main(void) {
  shoal_timeouts_config config;
  gate_address = test_address("10.0.0.1:7946");
  manager_address = test_address("10.0.0.2:7946");
  CHECK_STATUS(shoal_timeouts_config_init(&config), SHOAL_OK);
  CHECK_STATUS(shoal_timeouts_new(&config, 1, 0, &manager, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_gate_timeouts_new(&config, 2, 0, &gate, NULL, 0), SHOAL_OK);
  a_gate_times_a_job_out();
  a_manager_alone_decides();
  a_job_survives_its_leader();
  events_are_counted();
  shoal_timeouts_free(manager);
  shoal_gate_timeouts_free(gate);
  nodes_carry_the_messages();
  return 0;
}
