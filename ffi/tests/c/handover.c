/* A gate gives a job to another: by trackers, by engines and by nodes. */
#include "check.h"

enum { SECOND = 1000000000 };

static const shoal_job_id job = {{1, 2, 3}};
static shoal_datacenter_target targets[2];

/* What one tracker gives, for all ways to take it. */
static void give(shoal_gate_job_snapshot *snapshot, shoal_datacenter_snapshot *sites) {
  shoal_timeouts_config timing;
  shoal_gate_timeouts *gate = NULL;
  size_t count = 0;
  shoal_timeouts_config_init(&timing);
  CHECK_STATUS(shoal_gate_timeouts_new(&timing, 1, 0, &gate, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_gate_timeouts_job_snapshot(gate, 0, &job, snapshot, sites, 2, &count),
               SHOAL_NONE);
  CHECK_STATUS(shoal_gate_timeouts_job_started(gate, 0, &job, 60000, targets, 2), SHOAL_OK);
  CHECK_STATUS(
      shoal_gate_timeouts_job_snapshot(gate, 5 * (uint64_t)SECOND, &job, snapshot, sites, 1, &count),
      SHOAL_OK);
  CHECK(count == 2);
  CHECK_STATUS(
      shoal_gate_timeouts_job_snapshot(gate, 5 * (uint64_t)SECOND, &job, snapshot, sites, 2, &count),
      SHOAL_OK);
  CHECK(snapshot->timeout_ns == 60 * (uint64_t)SECOND && snapshot->datacenter_count == 2);
  CHECK(snapshot->elapsed_ns == 5 * (uint64_t)SECOND && snapshot->decision == 0);
  CHECK(strcmp(sites[0].datacenter, "east") == 0 || strcmp(sites[1].datacenter, "east") == 0);
  CHECK_STATUS(shoal_gate_timeouts_job_released(gate, 5 * (uint64_t)SECOND, &job), SHOAL_OK);
  CHECK_STATUS(shoal_gate_timeouts_job_released(gate, 5 * (uint64_t)SECOND, &job), SHOAL_NONE);
  shoal_gate_timeouts_free(gate);
}

static void trackers(const shoal_gate_job_snapshot *snapshot,
                     const shoal_datacenter_snapshot *sites) {
  shoal_timeouts_config timing;
  shoal_gate_timeouts *gate = NULL;
  shoal_job_status status;
  shoal_datacenter_snapshot broken = sites[0];
  shoal_event event;
  shoal_timeouts_config_init(&timing);
  timing.gate_deadline_grace_ms = 0;
  CHECK_STATUS(shoal_gate_timeouts_new(&timing, 2, 0, &gate, NULL, 0), SHOAL_OK);
  broken.status.state = 9;
  CHECK_STATUS(shoal_gate_timeouts_job_resumed(gate, 0, snapshot, &broken, 1, 0),
               SHOAL_INVALID_ARGUMENT);
  /* Kept for 50 seconds: five remain of its minute. */
  CHECK_STATUS(
      shoal_gate_timeouts_job_resumed(gate, 0, snapshot, sites, 2, 50 * (uint64_t)SECOND), SHOAL_OK);
  CHECK_STATUS(shoal_gate_timeouts_job_resumed(gate, 0, snapshot, sites, 2, 0), SHOAL_NONE);
  CHECK_STATUS(shoal_gate_timeouts_status(gate, &job, "west", &status), SHOAL_OK);
  CHECK(status.state == SHOAL_JOB_RUNNING);
  CHECK_STATUS(shoal_gate_timeouts_handle_timeout(gate, 4 * (uint64_t)SECOND), SHOAL_OK);
  CHECK_STATUS(shoal_gate_timeouts_poll_event(gate, &event), SHOAL_NONE);
  CHECK_STATUS(shoal_gate_timeouts_handle_timeout(gate, 6 * (uint64_t)SECOND), SHOAL_OK);
  CHECK_STATUS(shoal_gate_timeouts_poll_event(gate, &event), SHOAL_OK);
  CHECK(event.kind == SHOAL_EVENT_JOB_GLOBAL_TIMEOUT);
  CHECK(event.reason == SHOAL_TIMEOUT_GLOBAL_DEADLINE);
  shoal_gate_timeouts_free(gate);
}

static void engines(const shoal_gate_job_snapshot *snapshot,
                    const shoal_datacenter_snapshot *sites) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  shoal_engine *engine = NULL;
  shoal_gate_job_snapshot again;
  shoal_datacenter_snapshot again_sites[2];
  shoal_counter stats[32];
  size_t count = 0;
  config.advertise = test_address("127.0.0.1:9000");
  config.role = SHOAL_ROLE_GATE;
  CHECK_STATUS(shoal_engine_new(&config, 1, 0, &engine, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_engine_gate_job_resumed(engine, 0, snapshot, sites, 2, 0), SHOAL_OK);
  CHECK_STATUS(shoal_engine_job_count(engine, &count), SHOAL_OK);
  CHECK(count == 1);
  CHECK_STATUS(shoal_engine_job_stats(engine, stats, 32, &count), SHOAL_OK);
  CHECK(count > 3 && strcmp(stats[0].name, "jobs") == 0 && stats[0].value == 1);
  CHECK_STATUS(shoal_engine_gate_job_snapshot(engine, 0, &job, &again, again_sites, 2, &count),
               SHOAL_OK);
  CHECK(memcmp(&again, snapshot, sizeof again) == 0 && count == 2);
  CHECK_STATUS(shoal_engine_gate_job_released(engine, 0, &job), SHOAL_OK);
  CHECK_STATUS(shoal_engine_gate_changed(engine, 0, &config.advertise, &config.advertise),
               SHOAL_WRONG_ROLE);
  shoal_engine_free(engine);
}

static void nodes(const shoal_gate_job_snapshot *snapshot, const shoal_datacenter_snapshot *sites) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  shoal_node *node = NULL;
  shoal_gate_job_snapshot again;
  size_t count = 9;
  config.bind = test_address("127.0.0.1:0");
  config.role = SHOAL_ROLE_GATE;
  CHECK_STATUS(shoal_node_start(&config, &node, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_node_gate_job_resumed(node, snapshot, sites, 2, 0), SHOAL_OK);
  CHECK_STATUS(shoal_node_job_count(node, &count), SHOAL_OK);
  CHECK(count == 1);
  CHECK_STATUS(shoal_node_gate_job_snapshot(node, &job, &again, NULL, 0, &count), SHOAL_OK);
  CHECK(again.elapsed_ns >= snapshot->elapsed_ns && count == 2);
  CHECK_STATUS(shoal_node_gate_job_released(node, &job), SHOAL_OK);
  CHECK_STATUS(shoal_node_gate_job_snapshot(node, &job, &again, NULL, 0, &count), SHOAL_NONE);
  shoal_node_free(node);
}

int main(void) {
  shoal_gate_job_snapshot snapshot;
  shoal_datacenter_snapshot sites[2];
  strcpy(targets[0].datacenter, "east");
  strcpy(targets[1].datacenter, "west");
  targets[0].leader = test_address("127.0.0.1:9002");
  give(&snapshot, sites);
  trackers(&snapshot, sites);
  engines(&snapshot, sites);
  nodes(&snapshot, sites);
  return 0;
}
