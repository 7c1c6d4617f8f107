/* A tracker alone: two hosts 40 ms apart find that out, and bad coordinates change nothing. */
#include "check.h"

#include <math.h>

static const uint64_t MS = 1000000;

static shoal_coordinate own(const shoal_tracker *tracker) {
  shoal_coordinate coordinate;
  CHECK_STATUS(shoal_coordinate_own(tracker, &coordinate), SHOAL_OK);
  return coordinate;
}

static void prediction_converges(shoal_tracker *east, shoal_tracker *west) {
  double ms = 0, upper_ms = 0, quality = 0, distance = 0;
  shoal_rtt rtt;
  shoal_coordinate here, there;
  uint64_t now = 0;
  for (int round = 0; round < 500; round++) {
    now += 100 * MS;
    here = own(east);
    there = own(west);
    CHECK_STATUS(shoal_coordinate_update(east, 1, &there, 40 * MS, now), SHOAL_OK);
    CHECK_STATUS(shoal_coordinate_update(west, 0, &here, 40 * MS, now), SHOAL_OK);
  }
  here = own(east);
  there = own(west);
  CHECK_STATUS(shoal_coordinate_distance(&here, &there, &distance), SHOAL_OK);
  CHECK(fabs(distance - 40) < 4);
  CHECK_STATUS(shoal_coordinate_rtt(east, 1, now, &rtt), SHOAL_OK);
  CHECK(fabs(rtt.ms - 40) < 0.01 && rtt.upper_ms >= rtt.ms);
  CHECK_STATUS(shoal_coordinate_estimate(east, 1, now, &ms), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_upper(east, 1, now, &upper_ms), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_quality(east, 1, now, &quality), SHOAL_OK);
  CHECK(ms == rtt.ms && upper_ms == rtt.upper_ms && quality == rtt.quality);
  CHECK(quality > 0.5 && quality <= 1);
}

static void a_coordinate_is_enough_to_predict(shoal_tracker *east, const shoal_tracker *west) {
  shoal_coordinate there = own(west);
  double ms = -1;
  CHECK_STATUS(shoal_coordinate_estimate(east, 2, MS, &ms), SHOAL_NONE);
  CHECK(ms == -1);
  CHECK_STATUS(shoal_coordinate_hear(east, 2, &there, MS), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_estimate(east, 2, MS, &ms), SHOAL_OK);
  CHECK(fabs(ms - 40) < 4);
  CHECK_STATUS(shoal_coordinate_forget(east, 2), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_estimate(east, 2, MS, &ms), SHOAL_NONE);
}

static void nonsense_changes_nothing(shoal_tracker *east, const shoal_tracker *west) {
  static const double nonsense[] = {NAN, INFINITY, -INFINITY, 1e300, -1e300};
  shoal_coordinate before = own(east), after;
  char detail[SHOAL_DETAIL_SIZE];
  for (size_t index = 0; index < sizeof nonsense / sizeof *nonsense; index++) {
    shoal_coordinate broken = own(west);
    broken.vector[3] = nonsense[index];
    CHECK_STATUS(shoal_coordinate_update(east, 1, &broken, MS, MS), SHOAL_INVALID_COORDINATE);
    CHECK_STATUS(shoal_coordinate_distance(&before, &broken, &broken.height),
                 SHOAL_INVALID_COORDINATE);
  }
  after = own(west);
  CHECK_STATUS(shoal_coordinate_update(east, 1, &after, 0, MS), SHOAL_INVALID_ROUND_TRIP);
  CHECK_STATUS(shoal_coordinate_update(east, 1, &after, UINT64_MAX, MS), SHOAL_INVALID_ROUND_TRIP);
  CHECK_STATUS(shoal_coordinate_error(east, detail, sizeof detail), SHOAL_OK);
  CHECK(strstr(detail, "round trip") != NULL);
  after = own(east);
  CHECK(memcmp(&before, &after, sizeof after) == 0);
}

static void a_place_survives_a_restart(const shoal_tracker *east, const shoal_tracker *west) {
  shoal_tracker *again = NULL;
  shoal_coordinate_snapshot snapshot;
  shoal_coordinate there = own(west);
  double ms = 0;
  CHECK_STATUS(shoal_coordinate_save(east, &snapshot), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_new(3, 9, &again), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_restore(again, &snapshot), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_hear(again, 0, &there, MS), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_estimate(again, 0, MS, &ms), SHOAL_OK);
  CHECK(fabs(ms - 40) < 4);
  snapshot.mismatch_seconds = NAN;
  CHECK_STATUS(shoal_coordinate_restore(again, &snapshot), SHOAL_INVALID_COORDINATE);
  shoal_coordinate_free(again);
}

int main(void) {
  shoal_tracker *east = NULL, *west = NULL;
  CHECK_STATUS(shoal_coordinate_new(3, 1, &east), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_new(3, 2, &west), SHOAL_OK);
  prediction_converges(east, west);
  a_coordinate_is_enough_to_predict(east, west);
  nonsense_changes_nothing(east, west);
  a_place_survives_a_restart(east, west);
  shoal_coordinate_free(west);
  shoal_coordinate_free(east);
  return 0;
}
