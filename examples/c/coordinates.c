/* Predicts round trips that were never measured: four hosts place each other by measuring a few
 * pairs.
 *
 * Each host keeps a tracker. After every exchange it takes the round trip and the coordinate that
 * came with the answer. Two hosts on one coast and two on the other measure everyone but the host
 * diagonally across, and still know how far it is. */
#include <shoal.h>

#include <stdio.h>
#include <stdlib.h>

enum { HOSTS = 4, ROUNDS = 2000 };

/* Milliseconds between hosts: 0 and 1 are near each other, so are 2 and 3. */
static const double ACTUAL_MS[HOSTS][HOSTS] = {
    {0, 2, 70, 72}, {2, 0, 71, 70}, {70, 71, 0, 3}, {72, 70, 3, 0}};

static void check(shoal_status status) {
  if (status == SHOAL_OK) return;
  fprintf(stderr, "%s\n", shoal_status_text(status));
  exit(1);
}

static int is_measured(int host, int peer) { return host != peer && host + peer != HOSTS - 1; }

int main(void) {
  shoal_tracker *trackers[HOSTS];
  shoal_coordinate coordinate;
  uint64_t now_ns = 0;

  for (int host = 0; host < HOSTS; host++) {
    check(shoal_coordinate_new(HOSTS, 1 + (uint64_t)host, &trackers[host]));
  }
  for (int round = 0; round < ROUNDS; round++) {
    now_ns += 100000000;
    for (int host = 0; host < HOSTS; host++) {
      for (int peer = 0; peer < HOSTS; peer++) {
        check(shoal_coordinate_own(trackers[peer], &coordinate));
        if (is_measured(host, peer)) {
          uint64_t round_trip_ns = (uint64_t)(ACTUAL_MS[host][peer] * 1e6);
          check(shoal_coordinate_update(trackers[host], (uint32_t)peer, &coordinate, round_trip_ns,
                                        now_ns));
        } else if (host != peer) {
          /* Told by somebody else, for example in a list of members. */
          check(shoal_coordinate_hear(trackers[host], (uint32_t)peer, &coordinate, now_ns));
        }
      }
    }
  }
  printf("pair     actual   known     rarely above  quality\n");
  for (int host = 0; host < HOSTS; host++) {
    for (int peer = host + 1; peer < HOSTS; peer++) {
      shoal_rtt rtt;
      check(shoal_coordinate_rtt(trackers[host], (uint32_t)peer, now_ns, &rtt));
      printf("%d - %d  %5.1f ms  %5.1f ms      %6.1f ms     %.2f  %s\n", host, peer,
             ACTUAL_MS[host][peer], rtt.ms, rtt.upper_ms, rtt.quality,
             is_measured(host, peer) ? "measured" : "predicted");
    }
  }
  for (int host = 0; host < HOSTS; host++) shoal_coordinate_free(trackers[host]);
  return 0;
}
