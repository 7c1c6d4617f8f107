/* A gate, a manager and a worker as engines in memory: the manager leads its datacenter and tells its
 * load, the gate routes to it. */
#include "check.h"

enum { GATE, MANAGER, WORKER, ENGINES, WAITING_MAX = 256 };
static const uint64_t MS = 1000000;

typedef struct {
  uint8_t bytes[SHOAL_DATAGRAM_SIZE_MAX];
  size_t size;
  int from, to;
} datagram;

static shoal_engine *engines[ENGINES];
static shoal_address addresses[ENGINES];
static datagram waiting[WAITING_MAX];
static size_t first_waiting, end_waiting;
static uint64_t now = 1000000000;
static unsigned elected;

static void start(int number, const char *address, uint32_t role) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  addresses[number] = config.advertise = test_address(address);
  config.generation = 1;
  config.role = role;
  config.has_external_leader = 1;
  strcpy(config.datacenter, "east");
  CHECK_STATUS(
      shoal_engine_new(&config, 7 + (uint64_t)number, now, &engines[number], NULL, 0), SHOAL_OK);
}

/* Takes what an input brought about. */
static void drain(int number) {
  shoal_transmit transmit;
  shoal_event event;
  for (;;) {
    datagram *slot = &waiting[end_waiting % WAITING_MAX];
    shoal_status status = shoal_engine_poll_transmit(engines[number], now, slot->bytes,
                                                     sizeof slot->bytes, &transmit);
    if (status == SHOAL_NONE) break;
    CHECK_STATUS(status, SHOAL_OK);
    slot->size = transmit.size;
    slot->from = number;
    for (int to = 0; to < ENGINES; to++) {
      if (memcmp(&addresses[to], &transmit.target, sizeof transmit.target) != 0) continue;
      slot->to = to;
      CHECK(++end_waiting - first_waiting < WAITING_MAX);
      break;
    }
  }
  while (shoal_engine_poll_event(engines[number], &event) == SHOAL_OK) {
    elected += number == MANAGER && event.kind == SHOAL_EVENT_LEADER_ELECTED && event.fence == 5;
  }
}

static void deliver(void) {
  while (first_waiting < end_waiting) {
    datagram *next = &waiting[first_waiting++ % WAITING_MAX];
    now += MS / 10;
    CHECK_STATUS(shoal_engine_handle_datagram(engines[next->to], now, &addresses[next->from],
                                              next->bytes, next->size),
                 SHOAL_OK);
    drain(next->to);
  }
}

static void run_for(uint64_t ms) {
  for (uint64_t end = now + ms * MS; now < end; now += 10 * MS) {
    deliver();
    for (int number = 0; number < ENGINES; number++) {
      CHECK_STATUS(shoal_engine_handle_timeout(engines[number], now), SHOAL_OK);
      drain(number);
    }
  }
}

int main(void) {
  shoal_engine *gate, *manager;
  shoal_leadership leadership;
  shoal_datacenter datacenter;
  shoal_datacenter_target target, elsewhere;
  shoal_ranked ranked;
  shoal_route route;
  shoal_load load;
  shoal_job_id job;
  size_t count = 0;
  double latency_ms = -1;
  start(GATE, "10.0.0.1:1", SHOAL_ROLE_GATE);
  start(MANAGER, "10.0.0.2:1", SHOAL_ROLE_MANAGER);
  start(WORKER, "10.0.0.3:1", SHOAL_ROLE_WORKER);
  gate = engines[GATE];
  manager = engines[MANAGER];
  for (int number = GATE; number <= WORKER; number += WORKER - GATE) {
    CHECK_STATUS(shoal_engine_join(engines[number], now, &addresses[MANAGER], 1), SHOAL_OK);
    drain(number);
  }
  run_for(2000);

  CHECK_STATUS(shoal_engine_leader(manager, now, &leadership), SHOAL_OK);
  CHECK(!leadership.is_own && leadership.leader.port == 0);
  CHECK_STATUS(shoal_engine_name_leader(gate, now, &addresses[MANAGER], 5), SHOAL_WRONG_ROLE);
  drain(GATE);
  CHECK_STATUS(shoal_engine_name_leader(manager, now, &addresses[MANAGER], 5), SHOAL_OK);
  drain(MANAGER);
  CHECK_STATUS(shoal_engine_name_leader(manager, now, &addresses[MANAGER], 4), SHOAL_STALE_TERM);
  drain(MANAGER);
  CHECK_STATUS(shoal_engine_leader(manager, now, &leadership), SHOAL_OK);
  CHECK(leadership.is_own && leadership.term == 5);

  memset(&load, 0, sizeof load);
  load.total_cores = 8;
  load.available_cores = 6;
  CHECK_STATUS(shoal_engine_set_load(gate, now, &load), SHOAL_WRONG_ROLE);
  CHECK_STATUS(shoal_engine_set_load(manager, now, &load), SHOAL_OK);
  run_for(5000);
  CHECK_STATUS(shoal_engine_datacenters(gate, now, &datacenter, 1, &count), SHOAL_OK);
  CHECK(count == 1 && strcmp(datacenter.name, "east") == 0 && datacenter.term == 5);
  CHECK(datacenter.total_cores == 8 && datacenter.available_cores == 6);
  CHECK(datacenter.health == SHOAL_HEALTH_HEALTHY && elected == 1);
  CHECK_STATUS(shoal_engine_datacenters(manager, now, NULL, 0, &count), SHOAL_OK);
  CHECK(count == 0);

  CHECK_STATUS(shoal_job_id_from_name((const uint8_t *)"job", 3, &job), SHOAL_OK);
  memset(&target, 0, sizeof target);
  strcpy(target.datacenter, "east");
  CHECK_STATUS(shoal_engine_route(gate, now, &job, &target, 1, &route, &ranked, 1, &count), SHOAL_OK);
  CHECK(count == 1 && ranked.datacenter == datacenter.number && ranked.is_preferred);
  CHECK(route.decision.reason == SHOAL_REASON_INITIAL_SELECTION);
  CHECK(memcmp(&route.target.leader, &addresses[MANAGER], sizeof addresses[MANAGER]) == 0);
  CHECK_STATUS(shoal_engine_job_sent(gate, now, &job, &route.target), SHOAL_OK);
  run_for(1000);
  CHECK_STATUS(shoal_engine_job_ended(gate, now, &job, &route.target, 1, &latency_ms), SHOAL_OK);
  CHECK(latency_ms >= 1000 && latency_ms < 1100);
  CHECK_STATUS(shoal_engine_job_ended(gate, now, &job, &route.target, 1, NULL), SHOAL_NONE);
  CHECK_STATUS(shoal_engine_job_failed(gate, now, &job, &route.target), SHOAL_OK);
  elsewhere = target;
  strcpy(elsewhere.datacenter, "nowhere");
  CHECK_STATUS(shoal_engine_job_failed(gate, now, &job, &elsewhere), SHOAL_NONE);
  CHECK_STATUS(shoal_engine_job_sent(gate, now, &job, &elsewhere), SHOAL_NONE);
  CHECK_STATUS(shoal_engine_forget_route(gate, &job), SHOAL_OK);
  CHECK_STATUS(shoal_engine_forget_route(gate, &job), SHOAL_NONE);
  CHECK_STATUS(shoal_engine_route(manager, now, &job, NULL, 0, &route, NULL, 0, &count),
               SHOAL_WRONG_ROLE);

  /* A datacenter that no gossip reaches is watched when the host names a manager of it. */
  CHECK_STATUS(shoal_engine_watch_datacenter(gate, now, &elsewhere), SHOAL_INVALID_ADDRESS);
  elsewhere.leader = test_address("10.9.0.1:1");
  CHECK_STATUS(shoal_engine_watch_datacenter(manager, now, &elsewhere), SHOAL_WRONG_ROLE);
  drain(MANAGER);
  CHECK_STATUS(shoal_engine_watch_datacenter(gate, now, &elsewhere), SHOAL_OK);
  drain(GATE);
  CHECK_STATUS(shoal_engine_datacenters(gate, now, NULL, 0, &count), SHOAL_OK);
  CHECK(count == 2);

  for (int number = 0; number < ENGINES; number++) shoal_engine_free(engines[number]);
  return 0;
}
