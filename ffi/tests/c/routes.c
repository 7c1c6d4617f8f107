/* A router over two datacenters: it keeps to the better one, moves when it must, explains itself,
 * and orders managers. */
#include "check.h"

enum { EAST = 3, WEST = 7 };
static const uint64_t SECOND = 1000000000;

static shoal_router *router;
static shoal_job_id job;

static shoal_candidate candidate(uint32_t datacenter, double upper_ms, uint64_t now) {
  shoal_candidate new;
  CHECK_STATUS(shoal_candidate_init(&new, datacenter, now), SHOAL_OK);
  new.available_cores = 60;
  new.total_cores = 64;
  new.manager_count = 3;
  new.usable_manager_count = 3;
  new.has_rtt = 1;
  new.rtt.ms = upper_ms * 0.9;
  new.rtt.upper_ms = upper_ms;
  new.rtt.quality = 1;
  return new;
}

static shoal_decision route(uint64_t now, const shoal_candidate *candidates, size_t count) {
  shoal_decision decision;
  CHECK_STATUS(shoal_router_route(router, now, &job, candidates, count, NULL, 0, &decision),
               SHOAL_OK);
  return decision;
}

static void jobs_move_for_a_reason(void) {
  uint64_t now = 100 * SECOND;
  shoal_candidate candidates[2] = {candidate(EAST, 12, now), candidate(WEST, 70, now)};
  shoal_ranked chain[4];
  shoal_excluded excluded[4];
  size_t count = 0;
  shoal_decision decision = route(now, candidates, 2);
  CHECK(decision.selected == EAST && decision.previous == SHOAL_DATACENTER_NONE);
  CHECK(decision.reason == SHOAL_REASON_INITIAL_SELECTION &&
        decision.bucket == SHOAL_BUCKET_HEALTHY);
  CHECK(decision.chain_count == 2 && decision.primary_count == 2 && decision.excluded_count == 0);
  CHECK(!decision.is_bootstrap && !decision.has_switched);
  CHECK_STATUS(shoal_router_chain(router, chain, 4, &count), SHOAL_OK);
  CHECK(count == 2 && chain[0].datacenter == EAST && chain[1].datacenter == WEST);
  CHECK(chain[0].latency_ms == 12 && chain[0].score < chain[1].score && chain[0].has_rtt);

  candidates[0].usable_manager_count = 0;
  decision = route(now + SECOND, candidates, 2);
  CHECK(decision.selected == WEST && decision.previous == EAST && decision.has_switched);
  CHECK(decision.reason == SHOAL_REASON_EXCLUSION_FORCED && decision.excluded_count == 1);
  CHECK_STATUS(shoal_router_excluded(router, excluded, 4, &count), SHOAL_OK);
  CHECK(count == 1 && excluded[0].datacenter == EAST);
  CHECK(strcmp(shoal_exclusion_name(excluded[0].reason), "all_managers_circuit_open") == 0);

  candidates[0].usable_manager_count = 3;
  candidates[0].updated_at_ns = candidates[1].updated_at_ns = now + 31 * SECOND;
  decision = route(now + 2 * SECOND, candidates, 2);
  CHECK(decision.selected == WEST && decision.reason == SHOAL_REASON_HOLD_DOWN_RETAINED);
  decision = route(now + 31 * SECOND, candidates, 2);
  CHECK(decision.selected == EAST && decision.reason == SHOAL_REASON_IMPROVEMENT_THRESHOLD_MET);
}

static void failures_and_preferences_count(void) {
  uint64_t now = 200 * SECOND;
  shoal_candidate candidates[2] = {candidate(EAST, 50, now), candidate(WEST, 52, now)};
  const uint32_t preferred[] = {WEST};
  shoal_decision decision;
  shoal_ranked chain[2];
  size_t count = 0;
  shoal_job_id other;
  CHECK_STATUS(shoal_job_id_from_name((const uint8_t *)"other", 5, &other), SHOAL_OK);
  CHECK_STATUS(shoal_router_route(router, now, &other, candidates, 2, preferred, 1, &decision),
               SHOAL_OK);
  CHECK(decision.selected == WEST);
  CHECK_STATUS(shoal_router_record_failure(router, now, &other, WEST), SHOAL_OK);
  CHECK_STATUS(shoal_router_route(router, now, &other, candidates, 2, preferred, 1, &decision),
               SHOAL_OK);
  CHECK(decision.selected == EAST && decision.reason == SHOAL_REASON_COOLDOWN_PENALTY);
  CHECK_STATUS(shoal_router_chain(router, chain, 2, &count), SHOAL_OK);
  CHECK(chain[1].is_cooling && chain[1].is_preferred && chain[1].multiplier > 1);
  CHECK_STATUS(shoal_router_forget_job(router, &other), SHOAL_OK);
  CHECK_STATUS(shoal_router_forget_job(router, &other), SHOAL_NONE);
}

static void impossible_candidates_are_refused(void) {
  uint64_t now = 300 * SECOND;
  shoal_candidate candidates[2] = {candidate(EAST, 50, now), candidate(EAST, 52, now)};
  shoal_decision decision;
  char detail[SHOAL_DETAIL_SIZE];
  size_t count = 9;
  memset(&decision, 0x5a, sizeof decision);
  CHECK_STATUS(shoal_router_route(router, now, &job, candidates, 2, NULL, 0, &decision),
               SHOAL_DUPLICATE_DATACENTER);
  CHECK_STATUS(shoal_router_error(router, detail, sizeof detail), SHOAL_OK);
  CHECK(strstr(detail, "datacenter 3") != NULL);
  candidates[1].health = 9;
  CHECK_STATUS(shoal_router_route(router, now, &job, candidates, 2, NULL, 0, &decision),
               SHOAL_INVALID_ARGUMENT);
  candidates[0].health = SHOAL_HEALTH_UNHEALTHY;
  CHECK_STATUS(shoal_router_route(router, now, &job, candidates, 1, NULL, 0, &decision),
               SHOAL_NONE);
  CHECK(decision.selected == 0x5a5a5a5a);
  CHECK_STATUS(shoal_router_chain(router, NULL, 0, &count), SHOAL_OK);
  CHECK(count == 0);
  CHECK_STATUS(shoal_router_excluded(router, NULL, 0, &count), SHOAL_OK);
  CHECK(count == 1);
}

static void unknown_round_trips_rank_by_capacity(void) {
  uint64_t now = 400 * SECOND;
  shoal_candidate candidates[2] = {candidate(EAST, 5, now), candidate(WEST, 500, now)};
  shoal_job_id fresh = {{9}};
  shoal_decision decision;
  candidates[0].available_cores = 1;
  CHECK_STATUS(shoal_router_use_predicted_rtts(router, 1, 1.4), SHOAL_OK);
  CHECK_STATUS(shoal_router_route(router, now, &fresh, candidates, 2, NULL, 0, &decision),
               SHOAL_OK);
  CHECK(decision.is_bootstrap && decision.selected == WEST);
  CHECK_STATUS(shoal_router_use_measured_rtts(router), SHOAL_OK);
  fresh.bytes[1] = 1;
  CHECK_STATUS(shoal_router_route(router, now, &fresh, candidates, 2, NULL, 0, &decision),
               SHOAL_OK);
  CHECK(!decision.is_bootstrap && decision.selected == EAST);
}

static void managers_are_ordered(void) {
  uint64_t now = 500 * SECOND;
  shoal_manager_candidate managers[3];
  shoal_address order[3];
  size_t count = 0;
  double latency_ms = 0;
  memset(managers, 0, sizeof managers);
  for (int index = 0; index < 3; index++) {
    char text[SHOAL_ADDRESS_TEXT_SIZE];
    snprintf(text, sizeof text, "10.0.0.%d:9000", index + 1);
    managers[index].address = test_address(text);
    managers[index].heartbeat_at_ns = now;
    managers[index].total_cores = managers[index].available_cores = 8;
    managers[index].has_rtt = 1;
    managers[index].rtt.upper_ms = 10 * (index + 1);
    managers[index].rtt.quality = 1;
  }
  managers[0].circuit = SHOAL_CIRCUIT_OPEN;
  CHECK_STATUS(shoal_router_choose_manager(router, now, &job, EAST, managers, 3, order, 3, &count),
               SHOAL_OK);
  CHECK(count == 2 && memcmp(&order[0], &managers[1].address, sizeof *order) == 0);
  CHECK_STATUS(shoal_router_record_dispatch(router, now, &job, EAST), SHOAL_OK);
  CHECK_STATUS(shoal_router_record_accepted(router, now, &job, EAST, &managers[2].address),
               SHOAL_OK);
  CHECK_STATUS(shoal_router_choose_manager(router, now, &job, EAST, managers, 3, order, 3, &count),
               SHOAL_OK);
  CHECK(memcmp(&order[0], &managers[2].address, sizeof *order) == 0);
  CHECK_STATUS(shoal_router_record_completion(router, now + SECOND, &job, EAST, 1, &latency_ms),
               SHOAL_OK);
  CHECK(latency_ms == 1000);
  CHECK_STATUS(shoal_router_record_completion(router, now + SECOND, &job, EAST, 1, &latency_ms),
               SHOAL_NONE);
}

static void everything_is_counted(void) {
  shoal_counter stats[64];
  size_t count = 0;
  uint64_t decisions = 0, switches = 0;
  CHECK_STATUS(shoal_router_stats(router, stats, 64, &count), SHOAL_OK);
  for (size_t index = 0; index < count; index++) {
    if (strncmp(stats[index].name, "decisions_", 10) == 0) decisions += stats[index].value;
    if (strcmp(stats[index].name, "switches") == 0) switches = stats[index].value;
  }
  CHECK(decisions == 9 && switches == 3);
}

int main(void) {
  shoal_router_config config;
  CHECK_STATUS(shoal_router_config_init(&config), SHOAL_OK);
  config.job_capacity = 100;
  CHECK_STATUS(shoal_job_id_from_name((const uint8_t *)"nightly", 7, &job), SHOAL_OK);
  CHECK_STATUS(shoal_router_new(&config, 1, &router, NULL, 0), SHOAL_OK);
  jobs_move_for_a_reason();
  failures_and_preferences_count();
  impossible_candidates_are_refused();
  unknown_round_trips_rank_by_capacity();
  managers_are_ordered();
  everything_is_counted();
  shoal_router_free(router);
  return 0;
}
