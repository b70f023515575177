"""The table of unit names: people's spellings that pint does not take, or takes for something else."""

from __future__ import annotations

__all__ = ["ALIASES", "COMMON"]

# canonical name: spellings, separated by commas; an indented line goes on with the last.
# A canonical name is pint's long name in words, but for `celsius`, `fahrenheit` and quotients
# (`mile per hour`), which pint writes otherwise.
_SPELLINGS = """
meter: m, meters, metre, metres
kilometer: km, kms, kilometers, kilometre, kilometres, klick, klicks
centimeter: cm, cms, centimeters, centimetre, centimetres
millimeter: mm, millimeters, millimetre, millimetres
micrometer: micron, microns, micrometers, micrometre, um
mile: mi, miles, statute mile, statute miles
yard: yd, yds, yards
foot: ft, feet
inch: in, inches, ins
nautical mile: nmi, nautical miles, sea mile, sea miles
light year: ly, light years, lightyear, lightyears, light-year, light-years
astronomical unit: au, astronomical units
parsec: pc, parsecs
furlong: furlongs
fathom: fathoms
gram: g, grams, gramme, grammes, gm
kilogram: kg, kgs, kilos, kilo, kilograms, kilogramme, kilogrammes
milligram: mg, milligrams
metric ton: t, tonne, tonnes, metric tons, metric tonne, metric tonnes
ton: tons, short ton, short tons, us ton, us tons
long ton: long tons, imperial ton, imperial tons
pound: lb, lbs, pounds, lbm
ounce: oz, ounces
stone: st, stones
grain: grains
carat: carats, ct
second: s, sec, secs, seconds
minute: min, mins, minutes
hour: h, hr, hrs, hours
day: d, days
week: wk, wks, weeks
fortnight: fortnights
month: months
year: y, yr, yrs, years
decade: decades
century: centuries
millisecond: ms, msec, milliseconds
microsecond: us, microseconds
nanosecond: ns, nanoseconds
celsius: c, °c, deg c, degc, degree c, degrees c, degree celsius, degrees celsius,
  degrees centigrade, centigrade, degree_celsius
fahrenheit: f, °f, deg f, degf, degree f, degrees f, degree fahrenheit, degrees fahrenheit,
  degree_fahrenheit, farenheit, fahrenheits
kelvin: k, °k, kelvins, degrees kelvin, deg k
rankine: °r, degrees rankine, degree rankine
liter: l, liters, litre, litres, ltr, ltrs
milliliter: ml, milliliters, millilitre, millilitres
centiliter: cl, centiliters, centilitre, centilitres
deciliter: dl, deciliters, decilitre, decilitres
gallon: gal, gals, gallons, us gallon, us gallons
imperial gallon: imperial gallons, uk gallon, uk gallons
quart: qt, qts, quarts
pint: pints, us pint, us pints
imperial pint: imperial pints, uk pint, uk pints
cup: cups, us cup, us cups
tablespoon: tbsp, tbsps, tablespoons, tbs
teaspoon: tsp, tsps, teaspoons
fluid ounce: fl oz, fl. oz, fl. oz., floz, fluid ounces, us fluid ounce, us fluid ounces
imperial fluid ounce: imperial fluid ounces, uk fluid ounce, uk fluid ounces
barrel: barrels, bbl
cubic centimeter: cc, ccm
hectare: ha, hectares
acre: acres
square kilometer: sqkm, km2
square meter: sqm, m2
square foot: sqft, ft2
kilometer per hour: kph, kmh, km/h, kmph, kilometers an hour, kilometres an hour
mile per hour: mph, mi/h, miles an hour
meter per second: mps, m/s
foot per second: fps, ft/s
knot: kn, kt, kts, knots
mile per gallon: mpg
joule: j, joules
kilojoule: kj, kilojoules
megajoule: mj, megajoules
calorie: cal, calories
kilocalorie: kcal, kcals, kilocalories, food calorie, food calories
watt hour: wh, watt hours, watt-hour, watt-hours
kilowatt hour: kwh, kilowatt hours, kilowatt-hour, kilowatt-hours
british thermal unit: btu, btus, british thermal units
electron volt: ev, electron volts, electronvolt, electronvolts
watt: w, watts
kilowatt: kw, kilowatts
megawatt: mw, megawatts
horsepower: hp, horse power
newton: n, newtons
pound force: lbf, pounds force, pound-force
pascal: pa, pascals
hectopascal: hpa, hectopascals
kilopascal: kpa, kilopascals
bar: bars
millibar: mbar, millibars, mb of pressure
pound force per square inch: psi, pounds per square inch
standard atmosphere: atm, atmosphere, atmospheres
millimeter Hg: mmhg, millimeters of mercury, millimetres of mercury
torr: torrs
volt: v, volts
ampere: a, amp, amps, amperes
milliampere: ma, milliamp, milliamps
ohm: ohms, Ω
hertz: hz
kilohertz: khz
megahertz: mhz
gigahertz: ghz
revolution per minute: rpm
bit: bits
byte: b, bytes
kilobit: kbit, kilobits
megabit: mbit, Mb, megabits
gigabit: gbit, Gb, gigabits
kilobyte: kb, kilobytes
megabyte: mb, megabytes
gigabyte: gb, gigabytes
terabyte: tb, terabytes
petabyte: pb, petabytes
kibibyte: kib, kibibytes
mebibyte: mib, mebibytes
gibibyte: gib, gibibytes
tebibyte: tib, tebibytes
megabit per second: mbps, mbit/s
gigabit per second: gbps, gbit/s
degree: deg, degs, degrees, °
radian: rad, rads, radians
turn: turns, revolutions
angstrom: Å, angstroms
kilonewton: kN, kilonewtons
milliwatt: mW, milliwatts
megapascal: MPa, megapascals
millivolt: mV, millivolts
megavolt: MV, megavolts
megagram: Mg, megagrams
percent: %, per cent
"""


def _table() -> dict[str, str]:
    table: dict[str, str] = {}
    for line in _SPELLINGS.strip().replace("\n  ", " ").splitlines():
        canonical, _, spellings = line.partition(": ")
        table[canonical] = canonical
        for spelling in spellings.split(", "):
            table[spelling] = canonical
    return table


ALIASES = _table()
COMMON = tuple(sorted(ALIASES, key=lambda name: (name.casefold(), name)))
