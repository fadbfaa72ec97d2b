using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Counts what a check finds, and keeps the first of it.</summary>
/// <remarks>
/// Each table is read once, in file order, while QEMU reports findings in the order in which it meets them. So findings of a table are held
/// with the table, and logged where QEMU would report them.
/// </remarks>
internal sealed class FindingLog
{
    private static readonly List<CheckFinding> s_none = [];

    private readonly List<CheckFinding> _told = [];
    private List<CheckFinding> _held = [];
    private int _heldInAll;
    private bool _isHolding;

    public IReadOnlyList<CheckFinding> Told => _told;

    public long Corruptions { get; private set; }

    public long Leaks { get; private set; }

    public long CheckErrors { get; private set; }

    public long CorruptionsFixed { get; private set; }

    public long LeaksFixed { get; private set; }

    public bool IsFull => (_isHolding ? _heldInAll : _told.Count) >= CheckReport.MaxKeptFindings;

    /// <summary>A corruption, counted once per reference to its table.</summary>
    public void Corrupt([InterpolatedStringHandlerArgument("")] ref FindingText text, long times = 1)
    {
        Count(times);
        Keep(CheckFindingKind.Corruption, ref text);
    }

    /// <summary>Corruptions that are reported elsewhere.</summary>
    public void Count(long corruptions) => Corruptions += corruptions;

    public void Leak([InterpolatedStringHandlerArgument("")] ref FindingText text)
    {
        Leaks++;
        Keep(CheckFindingKind.Leak, ref text);
    }

    public void Fail([InterpolatedStringHandlerArgument("")] ref FindingText text)
    {
        CheckErrors++;
        Keep(CheckFindingKind.CheckError, ref text);
    }

    /// <summary>A corruption that is repaired.</summary>
    public void FixCorruption([InterpolatedStringHandlerArgument("")] ref FindingText text, long times = 1)
    {
        CorruptionsFixed += times;
        Keep(CheckFindingKind.Repair, ref text);
    }

    /// <summary>A leak that is repaired.</summary>
    public void FixLeak([InterpolatedStringHandlerArgument("")] ref FindingText text)
    {
        LeaksFixed++;
        Keep(CheckFindingKind.Repair, ref text);
    }

    /// <summary>A step of a repair.</summary>
    public void Say([InterpolatedStringHandlerArgument("")] ref FindingText text) => Keep(CheckFindingKind.Repair, ref text);

    /// <summary>Resets the counts, before counting again; logged findings are kept.</summary>
    public void Recount(long corruptions, long leaks, long checkErrors) =>
        (Corruptions, Leaks, CheckErrors) = (corruptions, leaks, checkErrors);

    /// <summary>Counts as repaired what was counted before and is no longer found.</summary>
    public void FixDifference(long corruptions, long leaks)
    {
        CorruptionsFixed += Math.Max(0, corruptions - Corruptions);
        LeaksFixed += Math.Max(0, leaks - Leaks);
    }

    /// <summary>Starts holding findings.</summary>
    public void Hold() => _isHolding = true;

    /// <summary>The findings held since holding started, or since the last call.</summary>
    public List<CheckFinding> TakeHeld()
    {
        if (_held.Count == 0)
        {
            return s_none;
        }

        List<CheckFinding> held = _held;
        _held = [];
        return held;
    }

    /// <summary>Stops holding: findings are logged as they are made.</summary>
    public void EndHolding()
    {
        _isHolding = false;
        _heldInAll = 0;
    }

    /// <summary>Logs held findings.</summary>
    public void Tell(List<CheckFinding> held)
    {
        if (held.Count > 0)
        {
            _told.AddRange(CollectionsMarshal.AsSpan(held)[..Math.Min(held.Count, CheckReport.MaxKeptFindings - _told.Count)]);
        }
    }

    private void Keep(CheckFindingKind kind, ref FindingText text)
    {
        if (IsFull)
        {
            return;
        }

        (_isHolding ? _held : _told).Add(new CheckFinding(kind, text.ToString()));
        _heldInAll += _isHolding ? 1 : 0;
    }
}
