// Judges schedules with the cron library that Kubernetes itself uses, so that our own reading of
// schedules can be compared with it.
//
// Input: one JSON string a line, a schedule. Output: one JSON object a line, in the same order:
//
//	valid   whether cron.ParseStandard reads it, panics recovered as Kubernetes recovers them
//	kind    "spec" or "every"
//	min,max the smallest and largest gap in seconds, absent when it never fires
//	bits    minute, hour, day of month, month, day of week; the star is bit 63
//	next    the next firings after an instant that depends on the line number, in unix seconds
//
// The gaps are found by brute force: every day of 400 years, and every minute of a day. Nothing of
// it knows about the closed form it is compared with.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

const (
	days     = 146097
	star     = uint64(1) << 63
	firings  = 3
	patience = 20 * time.Second
)

type verdict struct {
	Valid bool       `json:"valid"`
	Error string     `json:"error,omitempty"`
	Kind  string     `json:"kind,omitempty"`
	Min   int64      `json:"min,omitempty"`
	Max   int64      `json:"max,omitempty"`
	Bits  *[5]uint64 `json:"bits,omitempty"`
	Next  []int64    `json:"next,omitempty"`
}

// A day of the calendar, as bits to test against those of a schedule.
type day struct {
	dom        uint32
	month, dow uint16
}

type dayPattern struct{ dom, month, dow uint64 }

type distances struct{ min, max int64 }

var (
	calendar = makeCalendar()
	seen     = map[dayPattern]distances{}
	lines    atomic.Int64
)

func makeCalendar() []day {
	calendar := make([]day, days)
	for i := range calendar {
		t := time.Date(2000, time.January, 1+i, 0, 0, 0, 0, time.UTC)
		calendar[i] = day{1 << t.Day(), 1 << t.Month(), 1 << t.Weekday()}
	}
	return calendar
}

func parse(schedule string) (parsed cron.Schedule, err error) {
	defer func() {
		if r := recover(); r != nil {
			parsed, err = nil, fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	return cron.ParseStandard(schedule)
}

// The distances between matching days, walking around the calendar once.
func (p dayPattern) distances() distances {
	if known, ok := seen[p]; ok {
		return known
	}
	found := distances{}
	first, last := -1, -1
	note := func(i int) {
		if last >= 0 {
			d := int64(i - last)
			if found.min == 0 || d < found.min {
				found.min = d
			}
			found.max = max(found.max, d)
		}
		last = i
	}
	for i, d := range calendar {
		if uint64(d.month)&p.month == 0 {
			continue
		}
		dom, dow := uint64(d.dom)&p.dom != 0, uint64(d.dow)&p.dow != 0
		matches := dom || dow
		if p.dom&star != 0 || p.dow&star != 0 {
			matches = dom && dow
		}
		if matches {
			if first < 0 {
				first = i
			}
			note(i)
		}
	}
	if first >= 0 {
		note(first + days)
	}
	seen[p] = found
	return found
}

func gaps(s *cron.SpecSchedule) (int64, int64) {
	between := dayPattern{s.Dom, s.Month, s.Dow}.distances()
	if between.min == 0 {
		return 0, 0
	}
	var least, most int64
	first, last := int64(-1), int64(-1)
	note := func(gap int64) {
		if least == 0 || gap < least {
			least = gap
		}
		most = max(most, gap)
	}
	for minute := int64(0); minute < 1440; minute++ {
		if s.Hour&(1<<(minute/60)) == 0 || s.Minute&(1<<(minute%60)) == 0 {
			continue
		}
		if first < 0 {
			first = minute
		}
		if last >= 0 {
			note(minute - last)
		}
		last = minute
	}
	if first < 0 {
		return 0, 0
	}
	note(between.min*1440 - last + first)
	note(between.max*1440 - last + first)
	return least * 60, most * 60
}

// Spread over the years 2022 to 2030; for every third line within three days before clocks are
// moved somewhere, as they are on these days.
func instant(line int64) time.Time {
	if line%3 == 0 {
		moves := []int64{
			1772928000, // 8 March 2026: North America, Havana
			1774742400, // 29 March 2026: Europe, Beirut, Troll
			1775347200, // 5 April 2026: Australia, Chatham, Santiago
			1788652800, // 6 September 2026: Santiago
			1790467200, // 27 September 2026: Chatham
			1791072000, // 4 October 2026: Australia
			1792886400, // 25 October 2026: Europe, Beirut, Troll
			1793491200, // 1 November 2026: North America, Havana
		}
		move := moves[line/3%int64(len(moves))]
		return time.Unix(move+24*3600-(line*7919*613)%(72*3600), 0).UTC()
	}
	const span = 8 * 365 * 24 * 3600
	return time.Unix(1640995200+(line*7919*613)%span, 0).UTC()
}

func judge(schedule string, line int64) verdict {
	parsed, err := parse(schedule)
	if err != nil {
		return verdict{Error: err.Error()}
	}
	v := verdict{Valid: true}
	switch s := parsed.(type) {
	case *cron.SpecSchedule:
		v.Kind = "spec"
		v.Bits = &[5]uint64{s.Minute, s.Hour, s.Dom, s.Month, s.Dow}
		v.Min, v.Max = gaps(s)
	case cron.ConstantDelaySchedule:
		v.Kind = "every"
		v.Min = int64(s.Delay / time.Second)
		v.Max = v.Min
		if s.Delay%time.Second != 0 {
			panic("a delay with a fraction of a second")
		}
	default:
		panic(fmt.Sprintf("an unknown kind of schedule: %T", parsed))
	}
	if v.Min == 0 {
		// Looking for a firing that never comes would take the library a long time.
		return v
	}
	for t := instant(line); len(v.Next) < firings; {
		t = parsed.Next(t)
		if t.IsZero() {
			break
		}
		v.Next = append(v.Next, t.Unix())
	}
	return v
}

// Ends the program when the library loops forever.
func watch() {
	for before := int64(-1); ; {
		time.Sleep(patience)
		now := lines.Load()
		if now == before {
			fmt.Fprintf(os.Stderr, "no answer for line %d within %v\n", now, patience)
			os.Exit(3)
		}
		before = now
	}
}

func main() {
	// A schedule without a zone is read in UTC, whatever this machine is set to.
	time.Local = time.UTC
	go watch()
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	defer out.Flush()
	answers := json.NewEncoder(out)
	for in.Scan() {
		var schedule string
		if err := json.Unmarshal(in.Bytes(), &schedule); err != nil {
			panic(err)
		}
		if err := answers.Encode(judge(schedule, lines.Load())); err != nil {
			panic(err)
		}
		lines.Add(1)
	}
	if err := in.Err(); err != nil {
		panic(err)
	}
}
