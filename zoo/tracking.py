"""Placeholder while the tracker is being written."""
import json
from pathlib import Path
class Tracker:
    def __init__(self, run_dir, **k): self.run_dir=Path(run_dir); self.wandb_id=None
    def __enter__(self): return self
    def __exit__(self,*a): pass
    def record(self, m):
        with open(self.run_dir/"metrics.jsonl","a") as f: f.write(json.dumps(m)+"\n")
        print({k: (round(v,3) if isinstance(v,float) else v) for k,v in m.items() if k in("epoch","reward","eval/judge","seconds")}, flush=True)
    def warn(self,t): print("warning",t)
    def say(self,t): print(t)
    def picture(self,n,p): pass
    def close(self): pass
class Silent(Tracker):
    def __init__(self): self.run_dir=Path("."); self.wandb_id=None
    def record(self,m): pass
    def warn(self,t): pass
def truncate(run_dir, epoch):
    p=Path(run_dir)/"metrics.jsonl"
    L=[l for l in p.read_text().splitlines(True) if json.loads(l)["epoch"]<epoch]
    p.write_text("".join(L))
