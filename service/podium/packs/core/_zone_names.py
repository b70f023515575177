"""Place names that the tz database does not hold, and what each means."""

from __future__ import annotations

__all__ = ["ABBREVIATIONS", "CAPITALS", "CITIES", "COUNTRIES", "MAIN_ZONES", "REGIONS"]


def _table(text: str) -> dict[str, str]:
    """Read lines of `zone: name, name`; a line that is indented goes on with the last."""
    table: dict[str, str] = {}
    for line in text.strip().replace("\n  ", " ").splitlines():
        zone, _, names = line.partition(": ")
        table.update(dict.fromkeys(names.split(", "), zone))
    return table


# Large cities that have no zone of their own name, in lower case without accents.
CITIES = _table("""
America/New_York: new york city, nyc, manhattan, brooklyn, washington, washington dc, boston, philadelphia, miami,
  atlanta, orlando, tampa, jacksonville, charlotte, raleigh, baltimore, pittsburgh, cleveland, columbus, cincinnati,
  buffalo, richmond, savannah, newark, providence, hartford, washington d c
America/Chicago: dallas, houston, austin, san antonio, fort worth, minneapolis, st louis, saint louis, milwaukee,
  new orleans, kansas city, nashville, memphis, oklahoma city, omaha, tulsa, madison, st paul, des moines, little
  rock, birmingham alabama
America/Denver: salt lake city, albuquerque, colorado springs, santa fe, boulder, el paso
America/Phoenix: tucson, scottsdale
America/Los_Angeles: la, san francisco, sf, san diego, san jose, seattle, portland, las vegas, sacramento, oakland,
  palo alto, mountain view, silicon valley, hollywood, fresno, long beach, reno
America/Anchorage: juneau alaska, fairbanks
America/Indiana/Indianapolis: indianapolis
Pacific/Honolulu: waikiki, maui
America/Toronto: ottawa, montreal, quebec city, mississauga, hamilton ontario
America/Edmonton: calgary, banff
America/Vancouver: victoria bc
America/Mexico_City: guadalajara, puebla, mexico df, cdmx
America/Sao_Paulo: rio de janeiro, rio, brasilia, belo horizonte, curitiba, porto alegre, florianopolis
America/Bahia: salvador bahia
America/Argentina/Buenos_Aires: buenos aires, rosario
America/Guayaquil: quito
America/Bogota: medellin, cali, cartagena
America/Lima: cusco, cuzco
America/Santiago: valparaiso
America/Caracas: maracaibo
Europe/London: england, scotland, wales, northern ireland, manchester, birmingham, liverpool, leeds, edinburgh,
  glasgow, cardiff, bristol, oxford, cambridge, belfast, sheffield, newcastle, nottingham
Europe/Dublin: cork, galway
Europe/Berlin: munich, munchen, muenchen, hamburg, frankfurt, cologne, koln, koeln, stuttgart, dusseldorf,
  duesseldorf, leipzig, dresden, hanover, hannover, nuremberg, bremen, essen, dortmund, bonn
Europe/Paris: lyon, marseille, nice, toulouse, bordeaux, lille, strasbourg, nantes, cannes
Europe/Madrid: barcelona, valencia, seville, sevilla, malaga, bilbao, ibiza, mallorca, palma
Europe/Rome: milan, milano, naples, napoli, turin, torino, florence, firenze, venice, venezia, bologna, palermo,
  genoa, roma
Europe/Zurich: geneva, geneve, basel, bern, lausanne, lugano
Europe/Vienna: salzburg, graz, linz, innsbruck, wien
Europe/Amsterdam: rotterdam, the hague, utrecht, eindhoven
Europe/Brussels: antwerp, ghent, bruges
Europe/Lisbon: porto, lisboa
Europe/Warsaw: krakow, cracow, gdansk, wroclaw, poznan, lodz, warszawa
Europe/Prague: brno, praha
Europe/Copenhagen: aarhus, kobenhavn
Europe/Stockholm: gothenburg, malmo, goteborg
Europe/Oslo: bergen, trondheim
Europe/Helsinki: tampere, espoo
Europe/Athens: thessaloniki, crete
Europe/Kyiv: kiev, lviv, odesa, odessa, kharkiv
Europe/Moscow: st petersburg, saint petersburg, sochi, kazan
Europe/Istanbul: ankara, izmir, antalya
Europe/Bucharest: cluj, timisoara
Asia/Jerusalem: tel aviv, haifa
Asia/Dubai: abu dhabi, sharjah
Asia/Riyadh: jeddah, mecca, medina
Asia/Qatar: doha
Asia/Tehran: isfahan, shiraz
Asia/Karachi: lahore, islamabad, rawalpindi
Asia/Kolkata: mumbai, bombay, delhi, new delhi, bangalore, bengaluru, chennai, madras, hyderabad, pune, ahmedabad,
  jaipur, goa, calcutta, kochi
Asia/Kathmandu: katmandu
Asia/Dhaka: chittagong
Asia/Yangon: rangoon
Asia/Bangkok: phuket, chiang mai, hanoi, pattaya
Asia/Ho_Chi_Minh: saigon, da nang, ho chi minh city
Asia/Shanghai: beijing, peking, shenzhen, guangzhou, canton, chengdu, chongqing, wuhan, tianjin, hangzhou, nanjing,
  xi'an, xian, suzhou
Asia/Hong_Kong: hongkong, kowloon
Asia/Macau: macao
Asia/Tokyo: osaka, kyoto, yokohama, nagoya, sapporo, fukuoka, kobe, hiroshima, okinawa
Asia/Seoul: busan, incheon
Asia/Manila: cebu, quezon city
Asia/Makassar: bali, denpasar
Asia/Jakarta: bandung, surabaya
Asia/Kuala_Lumpur: penang, johor bahru, kl
Asia/Almaty: astana, nur-sultan
Asia/Ulaanbaatar: ulan bator
Australia/Sydney: canberra, newcastle australia, wollongong
Australia/Brisbane: gold coast, cairns
Pacific/Auckland: wellington, christchurch, queenstown, dunedin
Africa/Johannesburg: cape town, durban, pretoria, soweto
Africa/Cairo: alexandria, giza
Africa/Casablanca: marrakesh, marrakech, rabat, fez, tangier
Africa/Lagos: abuja, kano
Africa/Nairobi: mombasa
Africa/Dar_es_Salaam: dodoma, zanzibar
Africa/Addis_Ababa: addis
Atlantic/Canary: tenerife, gran canaria, lanzarote
""")

# States, provinces and parts of countries, with the zone of most of their people.
REGIONS = _table("""
America/New_York: connecticut, delaware, florida, georgia usa, maine, maryland, massachusetts, michigan, new
  hampshire, new jersey, new york state, north carolina, ohio, pennsylvania, rhode island, south carolina, vermont,
  virginia, west virginia, district of columbia, east coast, us east coast, the east coast
America/Chicago: alabama, arkansas, illinois, iowa, kansas, louisiana, minnesota, mississippi, missouri, nebraska,
  north dakota, oklahoma, south dakota, tennessee, texas, wisconsin
America/Denver: colorado, montana, new mexico, utah, wyoming
America/Boise: idaho
America/Phoenix: arizona
America/Indiana/Indianapolis: indiana
America/Kentucky/Louisville: kentucky
America/Los_Angeles: california, nevada, oregon, washington state, west coast, us west coast, the west coast
America/Anchorage: alaska
Pacific/Honolulu: hawaii
America/Toronto: ontario, quebec
America/Vancouver: british columbia
America/Edmonton: alberta
America/Winnipeg: manitoba
America/Regina: saskatchewan
America/Halifax: nova scotia
America/St_Johns: newfoundland
Australia/Sydney: new south wales
Australia/Melbourne: victoria
Australia/Brisbane: queensland
Australia/Perth: western australia
Australia/Adelaide: south australia
Australia/Hobart: tasmania
Europe/Berlin: bavaria, saxony
Asia/Kolkata: kerala, punjab, gujarat
""")

# Abbreviations, with or without daylight saving; where one means several zones, the one of most speakers of English.
ABBREVIATIONS = _table("""
UTC: utc, z, zulu, gmt, universal time, coordinated universal time, greenwich mean time, greenwich, universal
America/New_York: et, est, edt, eastern, eastern time, eastern standard time, us eastern, us/eastern, est5edt
America/Chicago: ct, cst, cdt, central time, central standard time, us central, us/central, cst6cdt
America/Denver: mt, mst, mdt, mountain time, mountain standard time, us/mountain, mst7mdt
America/Los_Angeles: pt, pst, pdt, pacific time, pacific standard time, us pacific, us/pacific, pst8pdt
America/Anchorage: akst, akdt
Pacific/Honolulu: hst
America/Halifax: ast, adt, atlantic time
America/St_Johns: nst, ndt
America/Sao_Paulo: brt
America/Argentina/Buenos_Aires: art
Europe/London: bst, british summer time, uk time, british time
Europe/Paris: cet, cest, central european time, met
Europe/Athens: eet, eest, eastern european time
Europe/Lisbon: wet, west
Europe/Moscow: msk
Europe/Istanbul: trt
Asia/Dubai: gst
Asia/Karachi: pkt
Asia/Kolkata: ist, indian standard time, india standard time
Asia/Dhaka: bdt
Asia/Bangkok: ict
Asia/Jakarta: wib
Asia/Singapore: sgt
Asia/Hong_Kong: hkt
Asia/Manila: pht
Asia/Shanghai: china standard time
Asia/Tokyo: jst, japan standard time
Asia/Seoul: kst
Australia/Perth: awst
Australia/Darwin: acst
Australia/Adelaide: acdt
Australia/Sydney: aest, aedt, australian eastern time
Pacific/Auckland: nzst, nzdt
Africa/Johannesburg: sast
Africa/Nairobi: eat
Africa/Lagos: wat
Africa/Maputo: cat
""")

# Names of countries beside those of ISO 3166.
COUNTRIES = {
    "america": "US", "usa": "US", "us": "US", "united states of america": "US", "the united states": "US",
    "the us": "US", "the usa": "US", "uk": "GB", "the uk": "GB", "great britain": "GB", "britain": "GB",
    "united kingdom": "GB", "england": "GB", "russia": "RU", "south korea": "KR", "korea": "KR", "north korea": "KP",
    "czechia": "CZ", "czech republic": "CZ", "holland": "NL", "the netherlands": "NL", "uae": "AE", "the uae": "AE",
    "united arab emirates": "AE", "vietnam": "VN", "laos": "LA", "syria": "SY", "iran": "IR", "burma": "MM",
    "ivory coast": "CI", "cape verde": "CV", "turkiye": "TR", "turkey": "TR", "macedonia": "MK", "bosnia": "BA",
    "the philippines": "PH", "vatican": "VA", "palestine": "PS", "samoa": "WS", "bolivia": "BO", "tanzania": "TZ",
    "drc": "CD", "eswatini": "SZ", "east timor": "TL", "prc": "CN", "gb": "GB", "eire": "IE", "nz": "NZ", "ksa": "SA",
}  # fmt: skip

# The zone that a country's name means although it has others: the one of its capital, and of most of its people by far.
CAPITALS = {
    "BR": "America/Sao_Paulo", "CD": "Africa/Kinshasa", "ID": "Asia/Jakarta", "MX": "America/Mexico_City",
    "AR": "America/Argentina/Buenos_Aires", "CL": "America/Santiago", "CN": "Asia/Shanghai", "CY": "Asia/Nicosia",
    "DE": "Europe/Berlin", "EC": "America/Guayaquil", "ES": "Europe/Madrid", "GL": "America/Nuuk",
    "KZ": "Asia/Almaty", "MN": "Asia/Ulaanbaatar", "MY": "Asia/Kuala_Lumpur", "NZ": "Pacific/Auckland",
    "PG": "Pacific/Port_Moresby", "PS": "Asia/Gaza", "PT": "Europe/Lisbon", "UA": "Europe/Kyiv", "UZ": "Asia/Tashkent",
    "VN": "Asia/Ho_Chi_Minh",
}  # fmt: skip

# Of several zones of one country with the same offset, the one that people know.
MAIN_ZONES = frozenset((
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles",
    "America/Anchorage", "America/Toronto", "America/Winnipeg", "America/Edmonton", "America/Vancouver",
    "America/Halifax", "America/St_Johns", "America/Regina", "America/Mexico_City", "America/Tijuana",
    "America/Sao_Paulo", "America/Manaus", "Australia/Sydney", "Australia/Brisbane", "Australia/Adelaide",
    "Australia/Darwin", "Australia/Perth", "Europe/Moscow", "Asia/Yekaterinburg", "Asia/Novosibirsk",
    "Asia/Krasnoyarsk", "Asia/Vladivostok", "Asia/Jakarta", "Asia/Makassar",
))  # fmt: skip
