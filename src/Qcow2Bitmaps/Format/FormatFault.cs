using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

// Decisions: docs/decisions/format.md.
/// <summary>One thing that is wrong with the bytes of an image: thrown by strict readers, listed by lenient ones.</summary>
/// <param name="Code">The stable code.</param>
/// <param name="Structure">The structure at fault, for example <c>bitmap directory entry 3 ('chk-a')</c>.</param>
/// <param name="Field">The field at fault, by the specification's name where it has one.</param>
/// <param name="Offset">Where the field starts, in bytes from the start of the file.</param>
/// <param name="Found">The value that was found, as text.</param>
/// <param name="Allowed">What would be allowed, as text.</param>
/// <remarks>Immutable and safe to share between threads.</remarks>
public sealed record FormatFault(FaultCode Code, string Structure, string Field, ulong Offset, string Found, string Allowed)
{
    /// <summary>The structure at fault, for example <c>bitmap directory entry 3 ('chk-a')</c>.</summary>
    public string Structure { get; init => field = PrintableText.Escape(value); } = PrintableText.Escape(Structure);

    /// <summary>The value that was found, as text.</summary>
    public string Found { get; init => field = PrintableText.Escape(value); } = PrintableText.Escape(Found);

    /// <summary>The code as scripts should read it: the name in lower case with dashes, for example <c>header-cluster-bits</c>.</summary>
    public string Id => KebabCase.From(Code.ToString());

    /// <summary>
    /// Whether the fault is one of bitmaps alone: their extension, directory or tables. The rest of the image can be
    /// right then, though QEMU refuses all of it.
    /// </summary>
    public bool IsOfBitmaps => Code is >= FaultCode.BitmapsExtensionLength and < FaultCode.L1EntryReserved;

    /// <summary>Of what a lenient reader found: whether a reader as strict as QEMU refuses the image because of it.</summary>
    public bool IsRefused { get; init; }

    /// <summary>One line that says what is wrong, where, what was found and what is allowed.</summary>
    public override string ToString() =>
        $"{Structure}: {Field} at offset 0x{Offset:x} is {Found}, allowed: {Allowed} [{Id}]";
}
