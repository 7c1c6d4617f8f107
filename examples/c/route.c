/* Routes jobs to datacenters: the program says what it knows of them, the router decides and says
 * why.
 *
 * Three datacenters; the nearest runs out of managers and comes back, one fails a job. What the
 * program knows may come from anywhere; here it is written down. Time is an argument, so the half
 * minute of the story takes no time. */
#include <shoal.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EAST, WEST, NORTH, COUNT };
static const char *const NAMES[COUNT] = {"east", "west", "north"};
static const double ROUND_TRIPS_MS[COUNT] = {12, 30, 70};

static void check(shoal_status status, const char *what) {
  if (status == SHOAL_OK) return;
  fprintf(stderr, "%s: %s\n", what, shoal_status_text(status));
  exit(1);
}

/* What this program knows of its datacenters now. */
static void describe(shoal_candidate *candidates, uint64_t now_ns) {
  for (uint32_t index = 0; index < COUNT; index++) {
    shoal_candidate *candidate = &candidates[index];
    check(shoal_candidate_init(candidate, index, now_ns), "candidate");
    candidate->total_cores = 64;
    candidate->available_cores = 48;
    candidate->manager_count = 3;
    candidate->usable_manager_count = 3;
    candidate->has_rtt = 1;
    candidate->rtt.ms = ROUND_TRIPS_MS[index] * 0.9;
    candidate->rtt.upper_ms = ROUND_TRIPS_MS[index];
    candidate->rtt.quality = 1;
  }
}

static void route(shoal_router *router, unsigned second, const shoal_job_id *job,
                  const shoal_candidate *candidates) {
  shoal_decision decision;
  shoal_ranked chain[COUNT];
  shoal_excluded excluded[COUNT];
  size_t chain_count = 0, excluded_count = 0;
  shoal_status status = shoal_router_route(router, second * UINT64_C(1000000000), job, candidates,
                                           COUNT, NULL, 0, &decision);
  check(shoal_router_excluded(router, excluded, COUNT, &excluded_count), "excluded");
  printf("%3u s  ", second);
  if (status == SHOAL_NONE) {
    printf("no datacenter may take the job\n");
  } else {
    check(status, "route");
    printf("%-5s  because of %s\n", NAMES[decision.selected], shoal_reason_name(decision.reason));
    check(shoal_router_chain(router, chain, COUNT, &chain_count), "chain");
  }
  for (size_t index = 0; index < chain_count; index++) {
    const shoal_ranked *ranked = &chain[index];
    printf("         %-8s %-5s  score %6.1f = %4.1f ms x load %.2f x quality %.2f x job %.2f\n",
           index < decision.primary_count ? "primary" : "fallback", NAMES[ranked->datacenter],
           ranked->score, ranked->latency_ms, ranked->load_factor, ranked->quality_penalty,
           ranked->multiplier);
  }
  for (size_t index = 0; index < excluded_count; index++) {
    printf("         excluded %-5s  %s\n", NAMES[excluded[index].datacenter],
           shoal_exclusion_name(excluded[index].reason));
  }
}

int main(void) {
  static const char job_name[] = "nightly-load-test";
  shoal_router_config config;
  shoal_router *router = NULL;
  shoal_candidate candidates[COUNT];
  shoal_job_id job;
  char detail[SHOAL_DETAIL_SIZE] = "";

  check(shoal_router_config_init(&config), "settings");
  config.job_capacity = 1000;
  if (shoal_router_new(&config, 1, &router, detail, sizeof detail) != SHOAL_OK) {
    fprintf(stderr, "%s\n", detail);
    return 1;
  }
  check(shoal_job_id_from_name((const uint8_t *)job_name, strlen(job_name), &job), "job");

  describe(candidates, 0);
  route(router, 0, &job, candidates);

  printf("east loses its managers: the job moves at once\n");
  candidates[EAST].usable_manager_count = 0;
  route(router, 1, &job, candidates);

  printf("they come back, but the choice of west is young\n");
  candidates[EAST].usable_manager_count = 3;
  route(router, 2, &job, candidates);

  printf("half a minute later east is better enough to return\n");
  describe(candidates, 31 * UINT64_C(1000000000));
  route(router, 31, &job, candidates);

  printf("and fails the job: it cools down there\n");
  check(shoal_router_record_failure(router, 31 * UINT64_C(1000000000), &job, EAST), "failure");
  candidates[EAST].queue_depth = 1000;
  route(router, 32, &job, candidates);

  shoal_router_free(router);
  return 0;
}
