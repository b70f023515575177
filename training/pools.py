"""Values that many cards share: names of people and places, titles, messages, things."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FIRST_NAMES", "LAST_NAMES", "POOLS"]


def _each(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace("\n", " ").split(";") if part.strip())


FIRST_NAMES = _each(
    "Anna; Ben; Carla; Dmitri; Elena; Farid; Grace; Hiro; Ines; Jonas; Kofi; Lena; Marco; Nadia; Omar; Priya; "
    "Quentin; Rosa; Sam; Tara; Uma; Victor; Wanda; Xavier; Yusuf; Zoe; Aisha; Bruno; Chloe; Daniel; Emeka; Fiona; "
    "Gustav; Hanna; Ivan; Julia; Karim; Liam; Mei; Noor; Oscar; Petra; Rahul; Sofia; Tomas; Ursula; Vera; Will; "
    "Yara; Magnus; Aoife; Sven; Leila; Otis; Bea; Hugo; Ada; Max; Ruth; Kenji; Paula; Mila; Ravi; Greta; Dario; "
    "Selma; Theo; Ingrid; Amara; Callum; Bianca; Jorge; Freya; Malik; Dora; Pavel; Simone; Kurt; Lucia; Ned; Olga; "
    "Piotr; Rita; Stefan; Tess; Valentina; Walter; Yuki"
)
LAST_NAMES = _each(
    "Okafor; Lindqvist; Moreau; Tanaka; Silva; Novak; Berger; Hughes; Kaur; Rossi; Jensen; Weber; Haddad; Castro; "
    "Ivanova; Byrne; Nakamura; Osei; Fischer; Laurent; Petrov; Gomez; Ahmed; Larsen; Costa; Kowalski; Singh; Marsh; "
    "Duarte; Holm; Abbott; Reyes; Svensson; Bianchi; Mensah; Clarke; Yilmaz; Dubois; Horvat; Park; Ellis; Vargas; "
    "Keller; Brandt; Doyle; Sato; Farouk; Lund; Pereira; Walsh; Nyberg; Quinn; Adeyemi; Chandra; Ferrari; Gruber; "
    "Hale; Ito; Jacobs; Khan"
)


def _people() -> tuple[str, ...]:
    """Return names of people in full, each first name twice, and some with a title."""
    whole = [
        f"{first} {LAST_NAMES[(step * index + start) % len(LAST_NAMES)]}"
        for step, start in ((7, 0), (11, 5))
        for index, first in enumerate(FIRST_NAMES)
    ]
    titles = ("Dr", "Mrs", "Mr", "Ms")
    return (*whole, *(f"{titles[index % 4]} {last}" for index, last in enumerate(LAST_NAMES[::4])))


POOLS: Mapping[str, tuple[str, ...]] = {
    "first_name": FIRST_NAMES,
    "person": _people(),
    "city": _each(
        "Oslo; Lisbon; Kyoto; Nairobi; Quito; Toronto; Hamburg; Leeds; Porto; Gdansk; Seville; Lyon; Bergen; "
        "Antwerp; Tallinn; Zagreb; Austin; Denver; San Diego; New Orleans; Mexico City; Buenos Aires; Cape Town; "
        "Kuala Lumpur; Ho Chi Minh City; Accra; Cork; Ghent; Turin; Basel; Graz; Malmo; Tampere; Bristol; Bath; "
        "York; Glasgow; Salt Lake City; Santiago; Montreal; Osaka; Busan; Hanoi; Jaipur; Izmir; Haifa; Dakar; Perth; "
        "Hobart; Wellington; Brno; Krakow; Split; Valletta; Reykjavik; Galway; Rotterdam; Freiburg; St. Gallen; Rio "
        "de Janeiro"
    ),
    "country": _each(
        "Norway; Portugal; Japan; Kenya; Ecuador; Canada; Germany; Poland; Spain; France; Estonia; Croatia; Mexico; "
        "Argentina; South Africa; Malaysia; Vietnam; Ghana; Ireland; Belgium; Italy; Switzerland; Austria; Finland; "
        "Chile; South Korea; India; Turkey; Senegal; Australia; New Zealand; the Netherlands; the United States; "
        "Brazil; Iceland; Malta; Costa Rica; Morocco; Peru; Denmark"
    ),
    "company": _each(
        "Northwind; Bluepeak Labs; Halden & Sons; Orca Systems; Ridgeway Partners; Solaris Foods; Tindle Ltd; Vero "
        "Health; Quanta Works; Merrow Shipping; Pinecone Media; Atlas Freight; Kestrel Energy; Lumen Optics; Harrow "
        "Steel; Zephyr Air; Oak & Iron; Brightwater; Cobalt Analytics; Delmar Foods; Fennel and Co; Granite "
        "Insurance; Hexa Robotics; Ivory Press; Juniper Textiles; Maple Street Bakery; Nordlys AS; Opal Software; "
        "Pelican Travel; Rook Security"
    ),
    "product": _each(
        "wireless mouse; standing desk; noise cancelling headphones; espresso machine; running shoes; desk lamp; "
        "water bottle; rain jacket; mechanical keyboard; office chair; phone case; yoga mat; cast iron pan; "
        "backpack; bike helmet; usb hub; winter gloves; toaster; electric kettle; webcam; power bank; board game; "
        "wool blanket; smart watch; garden hose; tent; printer paper; hdmi cable; coffee grinder; air purifier"
    ),
    "street": _each(
        "14 Elm Road; 3 Harbour Street; 221 Mill Lane; 9 Kirkgate; 58 Station Road; 77 Maple Avenue; 5 Rue de la "
        "Paix; 102 King Street; 18 Bakery Lane; 6 Lindenallee; 41 West 12th Street; 30 Ocean Drive; 8 Church Hill; "
        "250 Park Avenue; 12 Via Roma; 67 Queen's Parade; 1 Castle Square; 19 Orchard Close"
    ),
    "food": _each(
        "pizza margherita; pad thai; lentil soup; chicken curry; sushi; tacos; falafel wrap; caesar salad; ramen; "
        "lasagne; mushroom risotto; fish and chips; veggie burger; pancakes; tomato soup; spring rolls; paella; "
        "goulash; pho; shakshuka; banana bread; apple pie; hummus; dumplings; beef stew; chocolate cake"
    ),
    "animal": _each(
        "dog; cat; horse; parrot; hamster; otter; red fox; blue whale; sparrow; honey bee; badger; tortoise; owl; "
        "lynx; salmon"
    ),
    "colour": _each(
        "red; dark blue; green; warm white; teal; orange; purple; pale yellow; black; silver; pink; turquoise; "
        "beige; crimson"
    ),
    "language": _each(
        "French; German; Spanish; Japanese; Portuguese; Italian; Swahili; Polish; Turkish; Korean; Arabic; Dutch; "
        "Hindi; Norwegian; Greek; Vietnamese; Finnish; Ukrainian; Hebrew; Catalan"
    ),
    "topic": _each(
        "climate change; electric cars; renewable energy; the housing market; machine learning; space travel; the "
        "olympics; coffee farming; remote work; bird migration; medieval history; data privacy; urban planning; "
        "chess openings; marathon training; sourdough baking; quantum computing; the elections; sleep; volcanoes; "
        "supply chains; deep sea fishing; inflation; jazz; wind power"
    ),
    "task": _each(
        "buy milk; call the dentist; water the plants; send the invoice to Orca; pick up the dry cleaning; renew my "
        "passport; finish the quarterly report; book flights for the conference; take out the bins; reply to Priya's "
        "email; check the smoke alarm; order printer ink; review the pull request; back up the laptop; pay the "
        "electricity bill; bring the projector; return the library books; fix the leaking tap; prepare slides for "
        "the board; charge the car; feed the cat; ask Jonas about the contract; update the price list; cancel the "
        "gym trial; buy a birthday card for mum; clean the coffee machine; sign the lease; test the backup; print "
        "the tickets; wash the curtains"
    ),
    "title": _each(
        "Quarterly review; Team lunch; Budget planning; Design sync; Launch party; Kick-off with Orca; Sprint "
        "retrospective; Interview with Nadia; Q3 numbers; Onboarding checklist; Shopping list; Trip to Lisbon; "
        "Garden plans; Reading notes; Ideas for the podcast; Roadmap 2027; Meeting notes; Packing list; Summer "
        "campaign; Safety training; Website relaunch; Book club; Server migration; House move; Sales pipeline; "
        "Weekly standup; Annual report; Press release; Customer feedback; Project Falcon"
    ),
    "message": _each(
        "I'm running ten minutes late; the meeting has moved to room 4; happy birthday; can you send me the slides; "
        "dinner is ready; please call me back when you can; the server is down again; we won the contract; thanks "
        "for your help yesterday; don't forget the keys; I'll be there by six; the parcel has arrived; the invoice "
        "is attached; see you at the station; are we still on for Thursday; the build is green again; please review "
        "my changes; sorry, I can't make it tonight; the train is delayed; good luck with the exam; we need more "
        "chairs; all tests passed; the client wants a new quote; lunch is on me; could you water my plants"
    ),
    "team": _each(
        "marketing; platform; design; sales; the support team; backend; finance; operations; data science; QA; "
        "legal; mobile; infrastructure; growth; HR"
    ),
    "project": _each(
        "Falcon; website relaunch; Apollo; mobile app; data warehouse; billing rewrite; Orion; customer portal; "
        "Phoenix; intranet; payments; search; Mercury; onboarding flow; kiosk"
    ),
    "currency": _each(
        "USD; EUR; GBP; JPY; CHF; euros; dollars; pounds; yen; Swiss francs; Norwegian kroner; AUD; CAD; Indian "
        "rupees; zloty; SEK; pesos; Turkish lira; NZD; yuan"
    ),
    "unit_length": _each(
        "miles; km; kilometres; metres; feet; inches; cm; yards; mm; nautical miles; ft; m; centimeters; kilometers; "
        "furlongs; mi"
    ),
    "unit_mass": _each("kg; pounds; lbs; grams; ounces; oz; stone; tonnes; kilograms; g; milligrams; tons; kilos"),
    "airport": _each(
        "Heathrow; JFK; Schiphol; LAX; Frankfurt; Gatwick; Changi; OSL; CDG; Narita; Dublin Airport; Arlanda; SFO; "
        "Munich; Keflavik; Barajas"
    ),
    "song": _each(
        "Paper Lanterns; Blue Monday Rain; Harbour Lights; Run Home Slow; Northern Sky Line; Golden Hour Waltz; "
        "Ghost in the Kitchen; Slow Train South; Velvet Morning; Seven Bridges; Winter Static; Hold the Door"
    ),
    "artist": _each(
        "the Copper Foxes; Mara Lindt; Night Ferry; Delta Choir; Juno & the Tides; Old Harbour Band; Kasimir; "
        "Lowland Sons; Ines Calder; The Paper Kites Club; DJ Ombra; Saffron Hill"
    ),
    "film": _each(
        "The Glass Orchard; Midnight in Tromso; Seven Cousins; Iron Harvest; The Last Ferry; A Quiet Engine; Paper "
        "Moons; Red Delta; The Cartographer's Son; Snow Line; Second Sunday; Kingdom of Moths"
    ),
    "book": _each(
        "The Salt Road; A Field Guide to Silence; Winter's Apprentice; The Orchard Keepers; Twelve Small Rooms; The "
        "Map Thief; Letters from Aran; Notes on Rust; The Lighthouse Audit; Daughters of the Tide; An Honest "
        "Machine; The Bee Line"
    ),
}
