/* Prints the nanoseconds per call of two questions, each the best of several runs. Run by
 * overhead.rs. */
#include <shoal.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PEERS = 256, CALLS = 2000000, RUNS = 9 };
static const uint64_t NOW_NS = 1000000000;

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double measure(const shoal_tracker *tracker, int is_estimate) {
  double best = 1, sum = 0;
  for (int run = 0; run < RUNS; run++) {
    double start = seconds(), ns;
    for (uint32_t call = 0; call < CALLS; call++) {
      shoal_rtt rtt = {0, 0, 0};
      if (is_estimate) {
        shoal_coordinate_estimate(tracker, call % PEERS, NOW_NS, &rtt.ms);
      } else {
        shoal_coordinate_rtt(tracker, call % PEERS, NOW_NS, &rtt);
      }
      sum += rtt.ms;
    }
    ns = (seconds() - start) / CALLS;
    if (ns < best) best = ns;
  }
  /* Uses the sum, so that no compiler leaves the calls out. */
  if (sum <= 0) exit(1);
  return best * 1e9;
}

int main(void) {
  shoal_tracker *tracker = NULL;
  shoal_coordinate coordinate;
  if (shoal_coordinate_new(PEERS, 1, &tracker) != SHOAL_OK) return 1;
  if (shoal_coordinate_own(tracker, &coordinate) != SHOAL_OK) return 1;
  for (uint32_t peer = 0; peer < PEERS; peer++) {
    coordinate.vector[peer % 8] = 0.001 * (1 + peer);
    if (shoal_coordinate_hear(tracker, peer, &coordinate, NOW_NS) != SHOAL_OK) return 1;
  }
  printf("%.3f %.3f\n", measure(tracker, 0), measure(tracker, 1));
  shoal_coordinate_free(tracker);
  return 0;
}
