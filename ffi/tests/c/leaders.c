/* A manager, a worker and a gate on loopback: the manager leads its datacenter, tells its load, and the
 * gate routes to it. */
#include "check.h"

#include <poll.h>

static shoal_node *start(uint32_t role, int has_external_leader, const shoal_address *seed) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  shoal_node *node = NULL;
  CHECK(config.manager_count_min == 1 && config.has_external_leader == 0);
  config.role = role;
  config.has_external_leader = (uint32_t)has_external_leader;
  strcpy(config.datacenter, "east");
  CHECK_STATUS(shoal_address_parse("127.0.0.1:0", &config.bind), SHOAL_OK);
  CHECK_STATUS(shoal_node_start(&config, &node, NULL, 0), SHOAL_OK);
  if (seed) {
    CHECK_STATUS(shoal_node_join(node, seed, 1), SHOAL_OK);
  }
  return node;
}

static void the_managers_elect(void) {
  shoal_node *manager = start(SHOAL_ROLE_MANAGER, 0, NULL);
  shoal_address address;
  CHECK_STATUS(shoal_node_address(manager, &address), SHOAL_OK);
  CHECK_STATUS(shoal_node_name_leader(manager, &address, 1), SHOAL_LEADER_ELECTED);
  shoal_node_free(manager);
}

int main(void) {
  shoal_address manager_address, gate_address;
  shoal_leadership leadership;
  shoal_datacenter datacenter;
  shoal_datacenter_target target;
  shoal_ranked ranked;
  shoal_route route;
  shoal_event event;
  shoal_load load;
  shoal_job_id job;
  size_t count = 0;
  int waits = 0, elected = 0;
  shoal_node *manager = start(SHOAL_ROLE_MANAGER, 1, NULL);
  shoal_node *worker, *gate;
  CHECK_STATUS(shoal_node_address(manager, &manager_address), SHOAL_OK);
  worker = start(SHOAL_ROLE_WORKER, 1, &manager_address);
  gate = start(SHOAL_ROLE_GATE, 1, &manager_address);
  CHECK_STATUS(shoal_node_address(gate, &gate_address), SHOAL_OK);
  CHECK_STATUS(shoal_job_id_from_name((const uint8_t *)"job", 3, &job), SHOAL_OK);

  CHECK_STATUS(shoal_node_leader(manager, &leadership), SHOAL_OK);
  CHECK(!leadership.is_own && leadership.leader.port == 0);
  CHECK_STATUS(shoal_node_name_leader(gate, &manager_address, 5), SHOAL_WRONG_ROLE);
  CHECK_STATUS(shoal_node_name_leader(manager, &manager_address, 5), SHOAL_OK);
  CHECK_STATUS(shoal_node_name_leader(manager, &manager_address, 4), SHOAL_STALE_TERM);
  CHECK_STATUS(shoal_node_leader(manager, &leadership), SHOAL_OK);
  CHECK(leadership.is_own && leadership.term == 5);
  CHECK(memcmp(&leadership.leader, &manager_address, sizeof manager_address) == 0);
  while (!elected && waits++ < 1000) {
    if (shoal_node_poll_event(manager, &event) == SHOAL_OK) {
      elected = event.kind == SHOAL_EVENT_LEADER_ELECTED && event.fence == 5 &&
                strcmp(event.datacenter, "east") == 0;
    } else {
      poll(NULL, 0, 1);
    }
  }
  CHECK(elected);

  memset(&load, 0, sizeof load);
  load.total_cores = 8;
  load.available_cores = 6;
  load.queue_depth = 2;
  CHECK_STATUS(shoal_node_set_load(gate, &load), SHOAL_WRONG_ROLE);
  CHECK_STATUS(shoal_node_set_load(manager, &load), SHOAL_OK);
  load.reserved[0] = 1;
  CHECK_STATUS(shoal_node_set_load(manager, &load), SHOAL_INVALID_ARGUMENT);

  /* The gate probes every two seconds, and may have done so before the load was told. */
  memset(&datacenter, 0, sizeof datacenter);
  datacenter.health = SHOAL_HEALTH_UNHEALTHY;
  for (waits = 0; waits < 2000 && !(datacenter.health == SHOAL_HEALTH_HEALTHY && datacenter.total_cores == 8); waits++) {
    CHECK_STATUS(shoal_node_datacenters(gate, &datacenter, 1, &count), SHOAL_OK);
    poll(NULL, 0, 10);
  }
  CHECK(count == 1 && datacenter.total_cores == 8 && datacenter.available_cores == 6 && datacenter.queue_depth == 2);
  CHECK(datacenter.reachability == SHOAL_REACHABILITY_REACHABLE && datacenter.term == 5);
  CHECK(datacenter.health == SHOAL_HEALTH_HEALTHY && strcmp(datacenter.name, "east") == 0);
  CHECK(memcmp(&datacenter.leader, &manager_address, sizeof manager_address) == 0);
  CHECK_STATUS(shoal_node_datacenters(manager, NULL, 0, &count), SHOAL_OK);
  CHECK(count == 0);

  memset(&target, 0, sizeof target);
  strcpy(target.datacenter, "east");
  CHECK_STATUS(shoal_node_route(gate, &job, &target, 1, &route, &ranked, 1, &count), SHOAL_OK);
  CHECK(count == 1 && ranked.datacenter == datacenter.number && ranked.is_preferred);
  CHECK(route.decision.reason == SHOAL_REASON_INITIAL_SELECTION);
  CHECK(strcmp(route.target.datacenter, "east") == 0);
  CHECK(memcmp(&route.target.leader, &manager_address, sizeof manager_address) == 0);
  CHECK_STATUS(shoal_node_job_sent(gate, &job, &route.target), SHOAL_OK);
  CHECK_STATUS(shoal_node_route(gate, &job, NULL, 0, &route, NULL, 0, &count), SHOAL_OK);
  CHECK(route.decision.reason == SHOAL_REASON_BEST_RETAINED && count == 1);
  CHECK_STATUS(shoal_node_job_failed(gate, &job, &route.target), SHOAL_OK);
  strcpy(target.datacenter, "nowhere");
  CHECK_STATUS(shoal_node_job_failed(gate, &job, &target), SHOAL_NONE);
  CHECK_STATUS(shoal_node_forget_route(gate, &job), SHOAL_OK);
  CHECK_STATUS(shoal_node_forget_route(gate, &job), SHOAL_NONE);
  CHECK_STATUS(shoal_node_route(manager, &job, NULL, 0, &route, NULL, 0, &count), SHOAL_WRONG_ROLE);
  CHECK_STATUS(shoal_node_route(gate, NULL, NULL, 0, &route, NULL, 0, &count), SHOAL_NULL_POINTER);

  shoal_node_free(gate);
  shoal_node_free(worker);
  shoal_node_free(manager);
  the_managers_elect();
  return 0;
}
