using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Images.Checking;

/// <summary>Counts what a check finds, and keeps the first of it.</summary>
/// <remarks>
/// Tables are read in the order of the file, and each once, while QEMU reports as it meets them. So what a table has is held with the
/// table, and told where QEMU would tell it.
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

    /// <summary>A corruption, counted as often as its table is named.</summary>
    public void Corrupt([InterpolatedStringHandlerArgument("")] ref FindingText text, long times = 1)
    {
        Count(times);
        Keep(CheckFindingKind.Corruption, ref text);
    }

    /// <summary>Corruptions that are told elsewhere.</summary>
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

    /// <summary>Forgets counts, not what was told: it is counted again.</summary>
    public void Recount(long corruptions, long leaks, long checkErrors) =>
        (Corruptions, Leaks, CheckErrors) = (corruptions, leaks, checkErrors);

    /// <summary>Says that what was counted before and is no longer there was repaired.</summary>
    public void FixDifference(long corruptions, long leaks)
    {
        CorruptionsFixed += Math.Max(0, corruptions - Corruptions);
        LeaksFixed += Math.Max(0, leaks - Leaks);
    }

    /// <summary>From here on findings are held.</summary>
    public void Hold() => _isHolding = true;

    /// <summary>What was held since the holding began, or since this was last asked.</summary>
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

    /// <summary>From here on findings are told as they are made.</summary>
    public void EndHolding()
    {
        _isHolding = false;
        _heldInAll = 0;
    }

    /// <summary>Tells what was held.</summary>
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
