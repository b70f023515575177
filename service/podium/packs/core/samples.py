"""A small workspace to try the file tools on."""

from __future__ import annotations

from pathlib import Path

__all__ = ["create_workspace"]

_DOCUMENTS = {
    "README.md": """# Workspace

The tools `find_files`, `read_file` and `search_documents` see the files in this folder and nothing else.
Put your own documents here, or point the setting at another folder.

- `notes/` minutes and plans
- `finance/` budget and invoices
- `handbook/` how we work
- `inventory.csv` what is in the store room
""",
    "todo.txt": """Renew the domain name before 15 January
Order two replacement keyboards
Book the meeting room for the spring workshop
Send the signed supplier contract to Harbour Paper
Water the plants on the third floor
""",
    "inventory.csv": """item,location,quantity,unit_price
keyboard,shelf A2,14,49.90
monitor,shelf B1,6,219.00
desk lamp,shelf C3,9,34.50
notebook,drawer 4,120,2.80
whiteboard marker,drawer 4,65,1.20
standing desk,basement,2,540.00
""",
    "notes/2026-03-kickoff.md": """# Kick-off of the Lighthouse project

Date: 3 March 2026. Present: Amara, Jonas, Mei, Tomas.

- Goal: customers in Lisbon and Nairobi can book a berth online.
- The first release is planned for 30 June 2026, the second for 15 October 2026.
- Budget: 48,000 for the first phase. Jonas keeps the books.
- Risk: the harbour authority has to approve the price list. Mei asks them before the end of March.
""",
    "notes/2026-05-review.md": """# Review of May

The booking form works and takes 4 seconds to load; the target is 1.5 seconds.
The harbour authority approved the price list on 12 May.
The release date stays: 30 June 2026. Tomas finds two testers in Nairobi.
""",
    "notes/travel plan.txt": """Trip to Lisbon, 8 to 11 June 2026
Flight on Monday at 07:40, 2 hours 50 minutes. Hotel near Cais do Sodre, 3 nights at 128 euros.
Meeting with the harbour authority on Tuesday at 10:00 local time.
""",
    "finance/budget.csv": """category,planned,spent
development,30000,21450
testing,6000,1800
travel,4000,2635
design,5000,4900
reserve,3000,0
""",
    "finance/invoice-0417.md": """# Invoice 0417

Harbour Paper Ltd. to Lighthouse project, 17 April 2026

| item | quantity | price each | total |
|---|---|---|---|
| A1 map prints | 12 | 18.50 | 222.00 |
| laminated signs | 30 | 6.20 | 186.00 |

Sum 408.00, value added tax 23 % 93.84, to pay 501.84 within 30 days.
""",
    "handbook/vacation.md": """# Vacation

Everyone has 28 vacation days a year. Up to 5 unused days move into the next year and end on 31 March.
Ask your team first, then enter the days in the calendar at least two weeks ahead.
""",
    "handbook/expenses.md": """# Expenses and refunds

Keep every receipt. Send expenses by the fifth day of the next month to Jonas; refunds are paid within 10 working days.
Train second class, flights economy. Meals up to 38 euros a day. Anything above 500 euros needs approval beforehand.
""",
    "handbook/onboarding.md": """# Onboarding checklist

1. Laptop, badge and parking card from the front desk.
2. Passwords: at least 14 characters, never shared, kept in the password manager.
3. Lunch with the team on the first day.
4. Read the pages on vacation and expenses.
""",
}


def create_workspace(path: Path) -> bool:
    """Write a few sample documents into `path`, when there is no such folder yet.

    Returns:
        Whether they were written. A folder that exists is left alone, even an empty one.
    """
    if path.exists():
        return False
    for name, text in _DOCUMENTS.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return True
