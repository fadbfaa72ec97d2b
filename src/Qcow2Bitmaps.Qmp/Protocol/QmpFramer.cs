using System.Buffers;
using System.Globalization;

namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>
/// Splits a stream of bytes into messages, by brackets as QEMU does, since QMP has no separators. Every byte is examined once, however few
/// arrive together, and kept only as part of a message, whose size is limited. Messages are converted to standard JSON: commas before a
/// closing bracket are removed, and single quotes, which QEMU accepts, become double quotes. Not thread-safe.
/// </summary>
/// <remarks>
/// After bytes that cannot be part of a message, and after a message that is too long or too deep, the rest of the line is skipped, so that
/// a broken line causes one error. QEMU continues after the bad byte, and answers each piece of the rest. A byte 0xFF, which no text
/// contains, always restarts parsing, as in QEMU.
/// </remarks>
internal sealed class QmpFramer(QmpLimits limits)
{
    private const int KeptBytes = 1 << 16;
    private const byte Restart = 0xFF;
    private const string ParseError = "JSON parse error, ";

    private byte[] _bytes = [];
    private int _used;
    private int _depth;
    private byte _quote;
    private bool _isEscaped;
    private bool _isScalar;
    private bool _isSkipping;
    private int _comma = -1;
    private int _trailingCommas;

    /// <summary>Whether a message is incomplete.</summary>
    public bool IsInside => _used > 0;

    /// <summary>Reads more bytes.</summary>
    /// <param name="input">The received bytes; those that were read are removed.</param>
    /// <param name="frame">The completed message.</param>
    /// <returns>Whether one did; if not, all of the input was read.</returns>
    public bool TryRead(ref ReadOnlySequence<byte> input, out QmpFrame frame)
    {
        if (!IsInside && _bytes.Length > KeptBytes)
        {
            _bytes = [];
        }

        while (!input.IsEmpty)
        {
            ReadOnlySpan<byte> span = input.FirstSpan;
            for (int i = 0; i < span.Length; i++)
            {
                if (Take(span[i], out bool isConsumed) is { } ended)
                {
                    frame = ended;
                    input = input.Slice(isConsumed ? i + 1 : i);
                    return true;
                }
            }

            input = input.Slice(span.Length);
        }

        frame = default;
        return false;
    }

    private QmpFrame? Take(byte value, out bool isConsumed)
    {
        isConsumed = true;
        if (value == Restart)
        {
            bool wasSkipping = _isSkipping;
            _isSkipping = false;
            return wasSkipping ? null : Fail(Stray(value), skipsLine: false);
        }

        if (_isSkipping)
        {
            _isSkipping = value != (byte)'\n';
            return null;
        }

        if (_quote != 0)
        {
            return InString(value);
        }

        bool isWord = value is (>= (byte)'0' and <= (byte)'9') or (>= (byte)'a' and <= (byte)'z') or (>= (byte)'A' and <= (byte)'Z')
            or (byte)'-' or (byte)'+' or (byte)'.';
        if (_isScalar && !isWord)
        {
            isConsumed = false;
            return End();
        }

        if (isWord)
        {
            _isScalar = _depth == 0;
            return Append(value);
        }

        switch (value)
        {
            case (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n':
                return _used > 0 && _bytes[_used - 1] != ' ' ? Append((byte)' ', isValue: false) : null;
            case (byte)'"' or (byte)'\'':
                _quote = value;
                return Append((byte)'"');
            case (byte)'{' or (byte)'[':
                if (_depth == limits.Depth)
                {
                    return Fail("JSON nesting depth limit exceeded", skipsLine: true);
                }

                _depth++;
                return Append(value);
            case (byte)'}' or (byte)']' or (byte)',' or (byte)':' when _depth == 0:
                return Fail(ParseError + "expecting value", skipsLine: false);
            case (byte)'}' or (byte)']':
                DropTrailingComma();
                _depth--;
                return Append(value) ?? (_depth == 0 ? End() : null);
            case (byte)',':
                bool isBehindValue = _bytes.AsSpan(0, _used).TrimEnd((byte)' ')[^1] is not ((byte)'{' or (byte)'[' or (byte)',');
                QmpFrame? failed = Append(value);
                _comma = isBehindValue ? _used - 1 : -1;
                return failed;
            case (byte)':':
                return Append(value);
            default:
                return Fail(Stray(value), skipsLine: true);
        }
    }

    private QmpFrame? InString(byte value)
    {
        if (_isEscaped)
        {
            _isEscaped = false;
            if (value == '\'')
            {
                _bytes[_used - 1] = value;
                return null;
            }

            return Append(value);
        }

        if (value == _quote)
        {
            _quote = 0;
            return Append((byte)'"') ?? (_depth == 0 ? End() : null);
        }

        _isEscaped = value == '\\';
        return value == '"' ? Append((byte)'\\') ?? Append(value) : Append(value);
    }

    private void DropTrailingComma()
    {
        if (_comma >= 0)
        {
            _bytes[_comma] = (byte)' ';
            _trailingCommas++;
        }
    }

    private QmpFrame? Append(byte value, bool isValue = true)
    {
        if (_used == limits.CommandBytes)
        {
            return Fail("JSON message size limit exceeded", skipsLine: value != '\n');
        }

        if (_used == _bytes.Length)
        {
            Array.Resize(ref _bytes, Math.Min(limits.CommandBytes, Math.Max(256, 2 * _used)));
        }

        _bytes[_used++] = value;
        if (isValue)
        {
            _comma = -1;
        }

        return null;
    }

    private QmpFrame End()
    {
        var frame = new QmpFrame(_bytes.AsMemory(0, _used), Fault: null, _trailingCommas);
        Reset();
        return frame;
    }

    private QmpFrame Fail(string fault, bool skipsLine)
    {
        Reset();
        _isSkipping = skipsLine;
        return new QmpFrame(default, fault, TrailingCommas: 0);
    }

    private void Reset()
    {
        _used = 0;
        _depth = 0;
        _quote = 0;
        _isEscaped = false;
        _isScalar = false;
        _comma = -1;
        _trailingCommas = 0;
    }

    private static string Stray(byte value) => value is > 0x20 and < 0x7F
        ? $"{ParseError}stray '{(char)value}'"
        : string.Create(CultureInfo.InvariantCulture, $"{ParseError}stray byte 0x{value:X2}");
}
